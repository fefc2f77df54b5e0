// Colours of what is drawn over pictures.

/** Colours told apart on dark and light pictures; a label keeps its colour. */
const COLOURS = ["#4ade80", "#38bdf8", "#fbbf24", "#f472b6", "#a78bfa", "#fb923c", "#2dd4bf", "#f87171"];

export function labelColour(label: string): string {
  let hash = 0;
  for (let i = 0; i < label.length; i++) hash = (hash * 31 + label.charCodeAt(i)) >>> 0;
  return COLOURS[hash % COLOURS.length] ?? "#4ade80";
}
