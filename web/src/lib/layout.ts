// Places the nodes of a pipeline in layers from left to right (or top to bottom). Pure.

export interface Placed {
  id: string;
  layer: number;
  /** Position in the layer, centred around 0. */
  row: number;
}

/** A node's layer is its longest way from a source; order in a layer follows its predecessors. */
export function layout(ids: string[], edges: { from: string; to: string }[]): Placed[] {
  const layer = new Map(ids.map((id) => [id, 0]));
  // A pipeline has no cycles; the bound keeps foreign data from looping for ever.
  for (let round = 0; round < ids.length; round++) {
    let moved = false;
    for (const { from, to } of edges) {
      const next = (layer.get(from) ?? 0) + 1;
      if (layer.has(to) && layer.has(from) && next > (layer.get(to) ?? 0) && next <= ids.length) {
        layer.set(to, next);
        moved = true;
      }
    }
    if (!moved) break;
  }
  const layers: string[][] = [];
  for (const id of ids) (layers[layer.get(id) ?? 0] ??= []).push(id);
  const row = new Map<string, number>();
  for (const members of layers) {
    if (!members) continue;
    const weight = new Map(members.map((id, index) => [id, pull(id, index, edges, row)]));
    members.sort((a, b) => (weight.get(a) ?? 0) - (weight.get(b) ?? 0));
    for (const [index, id] of members.entries()) row.set(id, index - (members.length - 1) / 2);
  }
  return ids.map((id) => ({ id, layer: layer.get(id) ?? 0, row: row.get(id) ?? 0 }));
}

function pull(id: string, index: number, edges: { from: string; to: string }[], row: Map<string, number>): number {
  const rows = edges.filter((edge) => edge.to === id && row.has(edge.from)).map((edge) => row.get(edge.from) ?? 0);
  if (rows.length === 0) return index * 1e-3;
  return rows.reduce((sum, value) => sum + value, 0) / rows.length + index * 1e-3;
}
