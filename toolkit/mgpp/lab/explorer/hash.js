// The state in the address: what was chosen can be sent to others, and the browser goes back and forth.

const flat = ({ compare, ...side }, prefix = "") => [
  ...Object.entries(side).map(([key, value]) => [prefix + key, String(value ?? "")]),
  ...(compare ? flat(compare, "b.") : []),
];

export const toHash = (state) => `#${new URLSearchParams(flat(state))}`;

/** The state of an address over a default; parts that are unknown or no numbers are passed over. */
export function fromHash(hash, start) {
  const asked = [...new URLSearchParams(hash.slice(1))];
  const side = (prefix) => {
    const pairs = asked.filter(([key]) => key.startsWith(prefix)).map(([key, text]) => [key.slice(prefix.length), text]);
    return Object.fromEntries(pairs.filter(([key]) => key in start && key !== "compare").map(([key, text]) => [key, parsed(key, text)]));
  };
  const known = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => !Number.isNaN(value)));
  if (!asked.length) return structuredClone(start);
  const state = { ...start, ...known(side("")), compare: null };
  const { compare: _, ...plain } = state;
  return asked.some(([key]) => key.startsWith("b.")) ? { ...state, compare: { ...plain, ...known(side("b.")) } } : state;
}

function parsed(key, text) {
  if (key === "follow") return text === "true";
  if (key === "step") return text === "" ? null : Number(text);
  return ["source", "layer", "kind"].includes(key) || text === "" ? text : Number(text);
}

/** Keeps address and explorer together; returns what `mount` calls after a change. */
export function followHash(start, mounted) {
  let own = location.hash;
  addEventListener("hashchange", () => {
    if (location.hash !== own) mounted().set(fromHash((own = location.hash), start), true);
  });
  return (state) => {
    const next = toHash(state);
    if (next !== own) location.hash = own = next;
    own = location.hash; // the browser may write it in another way
  };
}
