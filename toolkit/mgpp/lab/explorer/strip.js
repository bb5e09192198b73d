// The strip: the histogram through the training, a column a step, with both thresholds, and the score below it.

/** Returns a function from a source, layer and kind to the histograms of all steps; they are counted once. */
export function histories(bytes) {
  const known = new Map();
  return (source, layer = "", kind = "") => {
    const key = JSON.stringify([source.name, layer, kind]);
    if (!known.has(key)) {
      const histograms = source.rows.map((_, row) => density(select(source, bytes, row, layer, kind)));
      known.set(key, { key, histograms, tallest: Math.max(...histograms.flat()) });
    }
    return known.get(key);
  };
}

/** The logged row whose step is nearest. */
export const nearest = (rows, step) => rows.reduce((best, row) => (Math.abs(row.step - step) < Math.abs(best.step - step) ? row : best));

/** The two pictures; `pick(step, released)` is called while a step is chosen in them. */
export function strip(host, pick) {
  const make = (title, height, xLabel, yLabel) => panel(host, { title, height, xLabel, yLabel, pick });
  const map = make("Weights through the training", 190, "", "magnitude |θ|");
  const score = make("Score", 110, "training step: click to choose one", "");
  let painted = {};

  /** The histograms as an image, as wide as the panel: where a step is missing, its nearest neighbour stands. */
  function paint({ rows }, { key, histograms, tallest }) {
    const [width, height] = [map.across[1] - map.across[0], histograms[0].length];
    if (painted.of === key && painted.width === width) return painted.address;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    for (let at = 0; at < width; at++) {
      const histogram = histograms[rows.indexOf(nearest(rows, (at / width) * rows.at(-1).step))];
      histogram.forEach((share, bin) => image.data.set([0, 114, 178, 255 * Math.sqrt(share / tallest)], 4 * ((height - 1 - bin) * width + at)));
    }
    context.putImageData(image, 0, 0);
    painted = { of: key, width, address: canvas.toDataURL() };
    return painted.address;
  }

  /** Draws one view; `which` of A and B it is, if there are two. */
  function draw({ source, moment, follow, penalty }, past, which) {
    map.entitle(`Weights through the training${which ? ` of ${which.toUpperCase()}` : ""}`);
    const steps = source.rows.map(({ step }) => step);
    const x = linear([0, steps.at(-1)], map.across);
    const now = ["now", "now", upright(x, moment.step, map.upward)];
    const tauOf = (row) => (follow ? (row.lam > 0 ? mixture(row).threshold : NaN) : penalty.threshold);
    const [taus, cuts] = [source.rows.map(tauOf), source.rows.map(({ pruning_threshold: cut }) => (cut > 0 ? cut : NaN))];
    const y = logarithmic(REACH, map.upward, 2);
    const read = (at) => {
      const row = source.rows.indexOf(nearest(source.rows, at));
      const known = (name, value) => (value > 0 ? `, ${name} ${digits(value)}` : "");
      return `step ${steps[row]}: sparsity ${percent(source.rows[row].sparsity ?? 0)}${known("τ", taus[row])}${known("pruning threshold", cuts[row])}`;
    };
    map.draw({ x, y, marks: [["tau", "tau", path(steps, taus, x, y)], ["cut", "cut", path(steps, cuts, x, y)], now], read, address: paint(source, past) });
    drawScore(source.score, x, now, moment);
  }

  function drawScore(logged, x, [key, style], moment) {
    const { name = "no score is logged", steps = [], values = [] } = logged ?? {};
    score.entitle(`${name[0].toUpperCase()}${name.slice(1).replaceAll("_", " ")}`);
    const y = around(values, score.upward, 2);
    const dots = steps.map((step, i) => `M${x(step).toFixed(1)} ${y(values[i]).toFixed(1)}h0`).join("");
    const marks = [["curve", "curve", path(steps, values, x, y)], ["dots", "dot", dots], [key, style, upright(x, moment.step, score.upward)]];
    const read = (at) => {
      const i = steps.findLastIndex((step) => step <= at);
      return i < 0 ? "" : `step ${steps[i]}: ${digits(values[i])}`;
    };
    score.draw({ x, y, marks, read });
  }

  return { all: [map, score], draw };
}
