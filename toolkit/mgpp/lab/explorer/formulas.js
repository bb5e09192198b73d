// The formulas of mgpp.prior.mixture and mgpp.runs.histograms once more, for the browser; a test holds them equal.
// Names of settings are those of Python: lam, spike_var, slab_var, learning_rate, n.

const sigmoid = (x) => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)));

const logAddExp = (a, b) => Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));

/** The prior of these settings; `problem` says why there is none, `threshold` is NaN where spike and slab never meet. */
export function mixture({ lam, spike_var, slab_var }) {
  const problem = problemWith({ lam, spike_var, slab_var });
  const logOddsAtZero = Math.log1p(-lam) - Math.log(lam) + 0.5 * Math.log(slab_var / spike_var);
  const gap = (slab_var - spike_var) / (slab_var * spike_var);
  const part = (weight, variance, w) =>
    Math.log(weight) - 0.5 * Math.log(2 * Math.PI * variance) - (w * w) / (2 * variance);
  const spikeProbability = (w) => sigmoid(logOddsAtZero - 0.5 * gap * w * w);
  return {
    problem,
    threshold: !problem && logOddsAtZero > 0 && gap > 0 ? Math.sqrt((2 * logOddsAtZero) / gap) : NaN,
    spikeProbability,
    penalty: (w) => -logAddExp(part(lam, slab_var, w), part(1 - lam, spike_var, w)),
    penaltyGrad: (w) => w * (spikeProbability(w) * gap + 1 / slab_var),
  };
}

function problemWith({ lam, spike_var, slab_var }) {
  if (!(lam > 0 && lam < 1)) return "λ must lie between 0 and 1.";
  if (!(spike_var >= 1e-30 && slab_var <= 1e6)) return "Variances must lie between 1e-30 and 1e6.";
  if (spike_var > slab_var) return "The spike must be narrower than the slab: lower σ0² or raise σ1².";
  return "";
}

/** Number of weights with |θ| below a threshold; within a bin they count as evenly spread. `below` is cumulative. */
export function countBelow({ edges, below, zeros }, threshold) {
  let low = 0;
  let high = edges.length - 1;
  if (threshold >= edges[high]) return zeros + below[high];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (edges[middle] <= threshold) low = middle;
    else high = middle;
  }
  const inside = (threshold - edges[low]) / (edges[high] - edges[low]);
  return zeros + below[low] + inside * (below[high] - below[low]);
}

/** Share of the weights in the spike: below τ, or by the spike probability at zero where there is no τ. */
export function spikeShare(prior, weights) {
  if (!Number.isNaN(prior.threshold)) return countBelow(weights, prior.threshold) / weights.total;
  return prior.spikeProbability(0) > 0.5 ? 1 : 0;
}

/** Three digits: 0.0321, 4.94e-5. */
export function digits(x) {
  const size = Math.abs(x);
  return size === 0 || (size >= 1e-3 && size < 1e5) ? String(Number(x.toPrecision(3))) : x.toExponential(2).replace("e+", "e");
}

export const percent = (share) => `${Number((100 * share).toPrecision(3))}%`;

function inSteps(threshold, learningRate) {
  const ratio = threshold / learningRate;
  return ratio >= 0.95 && ratio < 1.05 ? "about one optimizer step" : `about ${digits(ratio)} optimizer steps`;
}

/** What the pictures say, in words. `moment` is a row of a run's log. */
export function sentence(settings, weights, moment) {
  const prior = mixture(settings);
  if (prior.problem) return prior.problem;
  const { learning_rate, n, spike_var, slab_var } = settings;
  const zeros = weights.zeros > 0 ? ` (${percent(weights.zeros / weights.total)} are exactly zero)` : "";
  const share = `${percent(spikeShare(prior, weights))} of these weights lie in the spike${zeros}`;
  const winner = prior.spikeProbability(0) > 0.5 ? "spike" : "slab";
  const first = Number.isNaN(prior.threshold)
    ? `${share}: there is no prior threshold, since the ${winner} is the more probable everywhere.`
    : `${share}; the prior threshold τ is ${digits(prior.threshold)}, ${inSteps(prior.threshold, learning_rate)}.`;
  const [slab, spike] = [slab_var, spike_var].map((variance) => digits(1 / (n * variance)));
  const second = `With n = ${n.toLocaleString("en")} the slab acts as an L2 of strength ${slab}, the spike as one of ${spike}.`;
  return `${first} ${second}${ofRun(moment)}`;
}

function ofRun({ step, phase, pruning_threshold: cut }) {
  if (!(cut > 0)) return ""; // nothing is pruned yet
  const frozen = phase === "frozen" ? "; the mask is frozen, the prior off" : "";
  return ` The pruning threshold of step ${step} is ${digits(cut)}${frozen}.`;
}

/** A number as one writes it in code: 0.05, 1e-6. */
export const plain = (x) => (x !== 0 && Math.abs(x) < 1e-3 ? x.toExponential() : String(x));

/** The line of Python that makes this prior. */
export const pythonLine = ({ lam, spike_var, slab_var }) =>
  `MixtureGaussianPrior(lam=${plain(lam)}, spike_var=${plain(spike_var)}, slab_var=${plain(slab_var)})`;
