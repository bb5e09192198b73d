// Sentences: what the pictures say, in words.

function inSteps(threshold, learningRate) {
  const ratio = threshold / learningRate;
  return ratio >= 0.95 && ratio < 1.05 ? "about one optimizer step" : `about ${digits(ratio)} optimizer steps`;
}

/** What one side shows. */
export function sentence(view) {
  const whose = isRun(view.source) && !view.follow ? "Not the run’s own settings: " : "";
  const what = view.settings.kind === "MGP" ? ofPrior(view) : `${ofPenalty(view)} ${ofZeros(view)}`;
  return `${whose}${what}${ofRun(view)}`;
}

function ofPrior({ penalty: prior, weights, settings }) {
  const { learning_rate, n, spike_var, slab_var } = settings;
  const zeros = weights.zeros > 0 ? ` (${percent(weights.zeros / weights.total)} are exactly zero)` : "";
  const share = `${percent(spikeShare(prior, weights))} of these weights lie in the spike${zeros}`;
  const winner = prior.spikeProbability(0) > 0.5 ? "spike" : "slab";
  const first = Number.isNaN(prior.threshold)
    ? `${share}: there is no prior threshold, since the ${winner} is the more probable everywhere.`
    : `${share}; the prior threshold τ is ${digits(prior.threshold)}, ${inSteps(prior.threshold, learning_rate)}.`;
  const [slab, spike] = [slab_var, spike_var].map((variance) => digits(1 / (n * variance)));
  return `${first} With n = ${n.toLocaleString("en")} the slab acts as an L2 of strength ${slab}, the spike as one of ${spike}.`;
}

function ofPenalty({ settings: { kind, strength, n } }) {
  if (kind === "L2") return `This run had no spike: its penalty is an L2 of strength ${digits(strength)}, like a slab of variance ${digits(1 / (n * strength))}.`;
  if (kind === "L1") return `This run had no spike: its penalty is an L1 of strength ${digits(strength)}.`;
  if (kind === "no penalty") return "This run had no prior: no penalty pulls its weights.";
  return "This run had a penalty that the explorer does not know; it is not drawn.";
}

const ofZeros = ({ weights: { zeros, total } }) =>
  zeros > 0 ? `${percent(zeros / total)} of these weights are exactly zero.` : "None of these weights is exactly zero.";

function ofRun(view) {
  const { step, pruning_threshold: cut, sparsity } = view.moment;
  if (!(sparsity > 0)) return ""; // nothing is pruned yet, or ever
  const scores = view.source.scores ? " It ranks scores, not magnitudes, so no pruning threshold is drawn." : "";
  const first = cut > 0 ? ` The pruning threshold of step ${step} is ${digits(cut)}.` : scores;
  if (view.moment.phase !== "frozen") return first;
  return `${first} The mask is frozen${view.follow && view.settings.kind !== "no penalty" ? ", the penalty off" : ""}.`;
}

/** The line of Python that makes this prior; "" if there is none. */
export const pythonLine = ({ kind, lam, spike_var, slab_var }) =>
  kind === "MGP" ? `MixtureGaussianPrior(lam=${plain(lam)}, spike_var=${plain(spike_var)}, slab_var=${plain(slab_var)})` : "";

const NAMED = { ...NAMES, strength: "the strength of the penalty" };

/** How B differs from A, in one sentence. */
export function differences(a, b) {
  const parts = [];
  const say = (name, one, other) => one !== other && parts.push(`${name} ${one} in A, ${other} in B`);
  say("the weights are those of", `${a.source.label}`, `${b.source.label}`);
  if (a.source.rows.length > 1 || b.source.rows.length > 1) say("the step is", a.settings.step, b.settings.step);
  say("the penalty is", a.settings.kind, b.settings.kind);
  const shared = a.settings.kind === b.settings.kind;
  const keys = [...(shared ? (a.settings.kind === "MGP" ? ["lam", "spike_var", "slab_var"] : ["strength"]) : []), "learning_rate", "n"];
  for (const key of keys) if (a.settings[key] !== undefined) say(`${NAMED[key]} is`, digits(a.settings[key]), digits(b.settings[key]));
  const number = (value) => (value > 0 ? digits(value) : "none");
  say("τ is", number(a.penalty.threshold), number(b.penalty.threshold));
  say("the pruning threshold is", number(a.moment.pruning_threshold), number(b.moment.pruning_threshold));
  const zeros = ({ weights }) => percent(weights.zeros / weights.total);
  say("the share of zeros is", zeros(a), zeros(b));
  return parts.length ? `Differences: ${parts.join("; ")}.` : "A and B are the same.";
}
