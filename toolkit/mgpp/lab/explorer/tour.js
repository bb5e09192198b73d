// The tour: five stops for whoever opens the explorer first.

const STOPS = [
  [".panels > :first-child", "This is the prior. The curve is the penalty of a weight θ; spike and slab meet at the threshold τ. Drag the dashed line of τ, and all pictures follow."],
  [".sliders", "These are its settings. λ is the weight of the slab, σ0² and σ1² are the variances of spike and slab. Learning rate and n say how strong the prior is beside the data."],
  [".panels > :last-child", "These are real weights. Those left of τ lie in the spike and are pulled to zero; the dotted line is one optimizer step. Where τ is shorter than a step, the spike hardly acts."],
  [".choices", "Choose a logged run under “weights” and press play, or click a step in the picture below: the weights move, and the pruning threshold with them."],
  [".compare", "Compare two priors or two runs: B is drawn over A, and a sentence tells the differences. The address keeps what you see, so you can send it."],
];

/** Leads through the stops; `host` holds their places and the box of class tour. */
export function tour(host) {
  const box = host.querySelector(".tour");
  return (stop) => {
    for (const each of host.querySelectorAll(".pointed")) each.classList.remove("pointed");
    box.hidden = !(stop in STOPS);
    if (box.hidden) return undefined;
    const [place, text] = STOPS[stop];
    const target = host.querySelector(place);
    if (target.closest("details")) target.closest("details").open = true;
    target.classList.add("pointed");
    box.querySelector("p").textContent = `${stop + 1} of ${STOPS.length}. ${text}`;
    box.querySelector("[name=tour-next]").textContent = stop + 1 in STOPS ? "next" : "done";
    target.scrollIntoView({ block: "nearest" });
    return stop;
  };
}
