// What one side of the explorer shows: a source of weights, a moment of it, and the penalty that acts.

export const SETTINGS = ["lam", "spike_var", "slab_var", "learning_rate", "n"];

export const isRun = (source) => source.penalty !== null;

/** Puts a side on a source, step, layer and kind that exist; a run that is followed gives its own settings. */
export function settle(side, sources) {
  const source = sources.find(({ name }) => name === side.source) ?? sources[0];
  const moment = source.rows.find(({ step }) => step === side.step) ?? source.rows.at(-1);
  const has = (index, value) => source.targets.some((target) => String(target[index]) === value);
  Object.assign(side, { source: source.name, step: moment.step });
  for (const [index, key] of ["layer", "kind"].entries()) if (!has(index, side[key])) side[key] = "";
  if (!isRun(source)) side.follow = false;
  if (!side.follow) return side;
  for (const key of SETTINGS) if (moment[key] > 0) side[key] = Number(moment[key].toPrecision(3));
  if (source.n) side.n = source.n;
  return side;
}

/** Returns a function from a settled side to what is drawn and said of it; the last histogram is kept. */
export function viewer(sources, bytes) {
  let at, counted;
  return (side) => {
    const source = sources.find(({ name }) => name === side.source);
    const row = source.rows.findIndex(({ step }) => step === side.step);
    const place = JSON.stringify([side.source, row, side.layer, side.kind]);
    if (place !== at) {
      const weights = select(source, bytes, row, side.layer, side.kind);
      counted = { weights, histogram: density(weights) };
      at = place;
    }
    const own = side.follow ? source.penalty : null;
    const settings = { ...side, kind: own ? own.label : "MGP", strength: own?.strength };
    return { side, source, row, moment: source.rows[row], ...counted, settings, follow: side.follow, penalty: penaltyOf(settings) };
  };
}

/** The penalty is off once a run's mask is frozen. */
export const isOff = ({ follow, moment }) => follow && moment.phase === "frozen";
