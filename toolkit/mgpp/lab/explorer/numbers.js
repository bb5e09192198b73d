// Numbers: how they are written, and what is wrong with one that was typed.

/** Three digits: 0.0321, 4.94e-5. */
export function digits(x) {
  const size = Math.abs(x);
  return size === 0 || (size >= 1e-3 && size < 1e5) ? String(Number(x.toPrecision(3))) : x.toExponential(2).replace("e+", "e");
}

export const percent = (share) => `${Number((100 * share).toPrecision(3))}%`;

/** A number as one writes it in code: 0.05, 1e-6. */
export const plain = (x) => (x !== 0 && Math.abs(x) < 1e-3 ? x.toExponential() : String(x));

export const NAMES = { lam: "λ", spike_var: "σ0²", slab_var: "σ1²", learning_rate: "the learning rate", n: "n" };

const isVariance = [(x) => x >= 1e-30 && x <= 1e6, "a variance must lie between 1e-30 and 1e6"];
const ALLOWED = {
  lam: [(x) => x > 0 && x < 1, "it must lie between 0 and 1, both excluded"],
  spike_var: isVariance,
  slab_var: isVariance,
  learning_rate: [(x) => x > 0 && x < Infinity, "it must be larger than 0"],
  n: [(x) => Number.isInteger(x) && x > 0, "it must be a whole number of at least 1"],
};

/** What is wrong with the text that was typed for a setting; "" if nothing. */
export function problemTyped(key, typed) {
  const text = typed.trim();
  const [fits, rule] = ALLOWED[key];
  if (text === "") return `${NAMES[key]} is empty; type a number.`;
  if (Number.isNaN(Number(text))) return `${NAMES[key]} = ${text} is not a number${spelling(key, text)}.`;
  return fits(Number(text)) ? "" : `${NAMES[key]} = ${text} does not fit: ${rule}.`;
}

function spelling(key, text) {
  if (text.includes(",")) return key === "n" ? "; write it without commas" : "; write a decimal point, as in 0.5";
  return /10|[*^×·⁻−]/.test(text) ? "; write powers of ten as in 1e-6" : "";
}
