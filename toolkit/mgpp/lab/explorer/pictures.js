// The pictures: what is drawn of one view, A, and over it of another, B, if there is one.

const MAGNITUDES = Array.from({ length: 141 }, (_, i) => 10 ** (-7 + i / 20)); // the logarithmic axis
const COARSE = MAGNITUDES.filter((_, i) => i % 2 === 0); // of curves, which are smooth but at τ
const BOTH_SIDES = [...COARSE.map((w) => -w).reverse(), 0, ...COARSE];
export const REACH = [1e-7, 1];

/** The points of the axis, and more of them where the spike ends, if it does. */
function finely(tau) {
  const edge = tau > 0 ? Array.from({ length: 31 }, (_, i) => tau * 2 ** ((i - 15) / 20)) : [];
  return [...COARSE, ...edge].filter((w) => w >= REACH[0] && w <= REACH[1]).sort((a, b) => a - b);
}

/** Share of the weights per decade of |θ| around each point of the axis, zeros apart. */
export function density(weights) {
  const counts = MAGNITUDES.map((w) => countBelow(weights, w));
  return counts.slice(1).map((count, i) => (20 * (count - counts[i])) / weights.total);
}

const shareAt = ({ histogram }, w) => histogram[Math.floor(20 * (Math.log10(w) + 7) + 1e-9)] ?? 0;

const excess = ({ penalty }) => ((zero) => (w) => penalty.penalty(w) - zero)(penalty.penalty(0));

const curveStyle = (view) => (view && isOff(view) ? "curve off" : "curve");

/** Marks of A and of B: make(view) is a path. B's come first, so that A lies on top. */
const both = (views, key, style, make) =>
  [1, 0].map((i) => [`${key}${i}`, `${style(views[i])}${i ? " b" : ""}`, views[i] ? make(views[i]) : ""]);

/** One line of text with what both views read. */
const reading = (views, place, value) => {
  const texts = views.map((view) => view && value(view));
  return `${place}: ${texts[1] === undefined || texts[1] === null ? texts[0] : `A ${texts[0]}, B ${texts[1]}`}`;
};

const verticals = (x, target, views) => [
  ...both(views, "step", () => "step", ({ settings }) => upright(x, settings.learning_rate, target.upward)),
  ...both(views, "cut", () => "cut", ({ moment }) => upright(x, moment.pruning_threshold ?? NaN, target.upward)),
  ...both(views, "tau", () => "tau", ({ penalty }) => upright(x, penalty.threshold, target.upward)),
];
const gripOf = (x, target, [{ penalty }]) => upright(x, penalty.threshold, target.upward);

/** Bars of the weights on one side of τ; without a spike all are plain. */
function shape({ penalty, histogram }, x, y, which) {
  const tau = Number.isNaN(penalty.threshold) ? (penalty.spikeProbability?.(0) > 0.5 ? Infinity : 0) : penalty.threshold;
  const belongs = (w) => (penalty.spikeProbability ? (w < tau ? "spike" : "slab") : "plain") === which;
  const bar = (share, i) => `M${x(MAGNITUDES[i]).toFixed(1)} ${y(0)}V${y(share).toFixed(1)}H${x(MAGNITUDES[i + 1]).toFixed(1)}V${y(0)}`;
  return histogram.map((share, i) => (share > 0 && belongs(MAGNITUDES[i]) ? bar(share, i) : "")).join("");
}

/** Draws the histogram of A, and the outline of B, with the lines that `verticals` knows. */
export function drawBars(bars, views, tallest) {
  const x = logarithmic(REACH, bars.across);
  const y = linear([0, tallest * 1.15], bars.upward, 3);
  const [a, b] = views;
  const stair = (share, i) => `V${y(share).toFixed(1)}H${x(MAGNITUDES[i + 1]).toFixed(1)}`;
  const stairs = b ? `M${x(REACH[0])} ${y(0)}${b.histogram.map(stair).join("")}` : "";
  bars.draw({
    x,
    y,
    marks: [
      ...["spike", "slab", "plain"].map((which) => [which, which, shape(a, x, y, which)]),
      ["outline", "outline b", stairs],
      ...verticals(x, bars, views),
    ],
    words: namesOf(a, x, bars),
    read: (w) => reading(views, `|θ| = ${digits(w)}`, (view) => `${percent(shareAt(view, w))} a decade, ${percent(countBelow(view.weights, w) / view.weights.total)} below`),
    grip: gripOf(x, bars, views),
  });
}

/** The pictures in two columns; `drag(value, done)` is called while τ is dragged. */
export function pictures(left, right, drag) {
  const make = (host, title, height, xLabel, yLabel, more) => panel(host, { title, height, xLabel, yLabel, ...more });
  const wide = make(left, "Penalty over the range of weights", 250, "weight θ", "R(θ) − R(0)");
  const close = make(left, "Penalty close to zero", 280, "weight θ", "R(θ) − R(0)", { drag: (w, done) => drag(Math.abs(w), done) });
  const pull = make(right, "How far one step pulls a weight to zero", 200, "", "move of one step", { drag });
  const spike = make(right, "Spike probability", 140, "", "p₀(θ)", { drag });
  const bars = make(right, "Real weights", 190, "magnitude |θ|", "share per decade", { drag });

  function drawPenalty(target, views, reach) {
    const xs = [...Array.from({ length: 121 }, (_, i) => (i / 60 - 1) * reach), ...BOTH_SIDES.filter((w) => Math.abs(w) < reach / 40)];
    xs.sort((a, b) => a - b);
    const heights = new Map(views.filter(Boolean).map((view) => [view, xs.map(excess(view))]));
    const top = Math.max(...[...heights.values()].map((ys) => (Number.isNaN(ys[0]) ? 0 : ys[0])));
    const x = linear([-reach, reach], target.across);
    const y = linear([0, top > 0 ? top * 1.08 : 1], target.upward, 5);
    const tau = ({ penalty }) => [-1, 1].map((sign) => upright(x, sign * penalty.threshold, target.upward)).join("");
    const [a] = views;
    const named = a.penalty.threshold < reach;
    target.draw({
      x,
      y,
      marks: [...both(views, "tau", () => "tau", tau), ...both(views, "curve", curveStyle, (view) => path(xs, heights.get(view), x, y))],
      words: [["tau", named ? "τ" : "", named ? x(a.penalty.threshold) + 4 : 0, target.upward[1] + 10]],
      read: (w) => reading(views, `θ = ${digits(w)}`, (view) => digits(excess(view)(w))),
      grip: tau(a),
    });
  }

  const moveOf = ({ settings: { learning_rate, n }, penalty }) => (w) => (learning_rate * penalty.penaltyGrad(w)) / n;

  function drawPull(views) {
    const x = logarithmic(REACH, pull.across);
    const y = logarithmic([1e-11, 1e1], pull.upward, 3);
    const curve = (view) => {
      const sizes = finely(view.penalty.threshold);
      return path(sizes, sizes.map(moveOf(view)).map((move) => (move > 0 ? move : NaN)), x, y);
    };
    const [{ settings }] = views;
    const end = moveOf(views[0])(1);
    pull.draw({
      x,
      y,
      marks: [
        ...verticals(x, pull, views),
        ["adam", "step", `M${x(REACH[0])} ${y(settings.learning_rate).toFixed(1)}H${x(REACH[1])}`],
        ["whole", "whole", path(REACH, REACH, x, y)],
        ...both(views, "curve", curveStyle, curve),
      ],
      words: [
        ["whole", "as far as zero", x(1e-7) + 4, y(1e-7) - 14],
        ["step", "Adam: about the learning rate", x(1) - 4, y(settings.learning_rate) - 4, "end"],
        ["curve", end > 0 ? "plain gradient" : "", x(1) - 4, Math.min(y(end) + 18, pull.upward[0] - 4), "end"],
      ],
      read: (w) => reading(views, `|θ| = ${digits(w)}`, (view) => `${digits(moveOf(view)(w))} a step`),
      grip: gripOf(x, pull, views),
    });
  }

  function drawSpike(views) {
    const x = logarithmic(REACH, spike.across);
    const y = linear([0, 1.05], spike.upward, 2);
    const curve = ({ penalty }) => {
      const sizes = finely(penalty.threshold);
      return penalty.spikeProbability ? path(sizes, sizes.map(penalty.spikeProbability), x, y) : "";
    };
    const none = views[0].penalty.spikeProbability ? "" : "this run has no spike";
    spike.draw({
      x,
      y,
      marks: [...verticals(x, spike, views), ...both(views, "curve", curveStyle, curve)],
      words: [["whole", none, spike.across[0] + 8, y(0.5)]],
      read: (w) => reading(views, `|θ| = ${digits(w)}`, ({ penalty: { spikeProbability: p } }) => (p ? `p₀ = ${digits(p(w))}` : "no spike")),
      grip: gripOf(x, spike, views),
    });
  }

  const all = [wide, close, pull, spike, bars];
  return {
    all,
    draw(views, tallest) {
      const tau = views.map((view) => view?.penalty.threshold ?? NaN).find((value) => value > 0);
      drawPenalty(wide, views, 0.5);
      drawPenalty(close, views, Math.min(tau ? 3 * tau : 0.01, 0.999));
      drawPull(views);
      drawSpike(views);
      drawBars(bars, views, tallest);
    },
  };
}

/** Names beside the lines of A, one below the other, away from the nearer border. */
function namesOf({ settings, penalty, moment }, x, target) {
  const lines = [
    ["tau", "prior threshold τ", penalty.threshold],
    ["step", "one step", settings.learning_rate],
    ["cut", "pruning threshold", moment.pruning_threshold],
  ];
  const middle = (target.across[0] + target.across[1]) / 2;
  return lines.map(([style, text, at], i) => {
    if (!(at >= REACH[0] && at <= REACH[1])) return [style, ""];
    const leftward = x(at) > middle;
    return [style, text, x(at) + (leftward ? -4 : 4), target.upward[1] + 10 + 13 * i, leftward ? "end" : "start"];
  });
}
