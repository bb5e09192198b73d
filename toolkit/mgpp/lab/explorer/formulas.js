// The formulas of mgpp.prior and mgpp.runs.histograms once more, for the browser; a test holds them equal.
// Names of settings are those of Python: lam, spike_var, slab_var, strength, learning_rate, n.

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
  if (!(lam > 0 && lam < 1)) return `λ = ${lam} makes no prior: it must lie between 0 and 1, both excluded.`;
  if (!(spike_var >= 1e-30 && slab_var <= 1e6)) return "Variances must lie between 1e-30 and 1e6.";
  if (spike_var > slab_var) return "The spike must be narrower than the slab: lower σ0² or raise σ1².";
  return "";
}

const without = { problem: "", threshold: NaN, spikeProbability: undefined };

// As a negative log prior: n times what the objective, a mean loss, gets. So all penalties share one scale.
const PENALTIES = {
  MGP: mixture,
  L2: ({ strength, n }) => ({ ...without, penalty: (w) => 0.5 * n * strength * w * w, penaltyGrad: (w) => n * strength * w }),
  L1: ({ strength, n }) => ({ ...without, penalty: (w) => n * strength * Math.abs(w), penaltyGrad: (w) => n * strength * Math.sign(w) }),
  "no penalty": () => ({ ...without, penalty: () => 0, penaltyGrad: () => 0 }),
};

/** The penalty of these settings. One that the explorer does not know has the value NaN: nothing is drawn. */
export function penaltyOf(settings) {
  const unknown = () => ({ ...without, penalty: () => NaN, penaltyGrad: () => NaN });
  return (PENALTIES[settings.kind] ?? unknown)(settings);
}

/** The spike variance with this prior threshold, the other settings given; NaN if there is none. */
export function spikeVarianceFor(threshold, { lam, slab_var }) {
  let [low, high] = [-30, Math.log10(slab_var)]; // τ grows with σ0² where it exists
  const reaches = (exponent) => !(mixture({ lam, spike_var: 10 ** exponent, slab_var }).threshold < threshold);
  if (reaches(low)) return NaN;
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (reaches(middle)) high = middle;
    else low = middle;
  }
  return 10 ** low;
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
