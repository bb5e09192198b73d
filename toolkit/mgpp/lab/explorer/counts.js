// Histograms as they travel: counts of all sources in one gzipped block, one byte plane after the other.

export async function gunzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The weights of the chosen matrices at one step: {edges, below (cumulative), zeros, total}. */
export function select(source, bytes, row, layer, kind) {
  const { edges, targets, rows, start } = source;
  const columns = edges.length; // the zeros, then a column a bin; the last bin is open
  const size = rows.length * targets.length * columns;
  const sums = new Float64Array(columns);
  targets.forEach(([itsLayer, itsKind], target) => {
    if ((layer !== "" && Number(layer) !== itsLayer) || (kind !== "" && kind !== itsKind)) return;
    for (let column = 0; column < columns; column++) {
      const place = start + (column * targets.length + target) * rows.length + row;
      for (let plane = 3; plane >= 0; plane--) sums[column] += bytes[place + plane * size] * 256 ** plane;
    }
  });
  return cumulated(edges, sums);
}

/** Weights as the formulas take them, from the zeros and the counts of all bins. */
export function cumulated(edges, sums) {
  const below = new Float64Array(sums.length);
  for (let bin = 1; bin < sums.length; bin++) below[bin] = below[bin - 1] + sums[bin];
  return { edges, below, zeros: sums[0], total: sums[0] + below.at(-1) };
}
