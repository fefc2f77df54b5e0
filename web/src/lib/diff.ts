// Line differences of two manifests, as a unified listing with context. Pure.

export interface DiffLine {
  kind: "same" | "add" | "del" | "skip";
  text: string;
}

/** Lines compared at most; beyond it the texts are shown as replaced. */
const MAX_LINES = 4000;

export function diffLines(before: string, after: string, context = 3): DiffLine[] {
  const a = before.replace(/\n$/, "").split("\n");
  const b = after.replace(/\n$/, "").split("\n");
  if (a.length + b.length > MAX_LINES) {
    return [...a.map((text): DiffLine => ({ kind: "del", text })), ...b.map((text): DiffLine => ({ kind: "add", text }))];
  }
  return collapse(walk(a, b), context);
}

function walk(a: string[], b: string[]): DiffLine[] {
  const width = b.length + 1;
  const common = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      const here = i * width + j;
      common[here] =
        a[i] === b[j]
          ? (common[here + width + 1] ?? 0) + 1
          : Math.max(common[here + width] ?? 0, common[here + 1] ?? 0);
    }
  }
  const out: DiffLine[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      out.push({ kind: "same", text: a[i] ?? "" });
      i++;
      j++;
    } else if (i < a.length && (j >= b.length || (common[(i + 1) * width + j] ?? 0) >= (common[i * width + j + 1] ?? 0))) {
      out.push({ kind: "del", text: a[i++] ?? "" });
    } else {
      out.push({ kind: "add", text: b[j++] ?? "" });
    }
  }
  return out;
}

function collapse(lines: DiffLine[], context: number): DiffLine[] {
  const keep = lines.map(() => false);
  for (const [index, line] of lines.entries()) {
    if (line.kind === "same") continue;
    for (let at = Math.max(0, index - context); at <= Math.min(lines.length - 1, index + context); at++) keep[at] = true;
  }
  const out: DiffLine[] = [];
  let skipped = 0;
  for (const [index, line] of lines.entries()) {
    if (keep[index]) {
      if (skipped) out.push({ kind: "skip", text: `${skipped} unchanged ${skipped === 1 ? "line" : "lines"}` });
      skipped = 0;
      out.push(line);
    } else skipped++;
  }
  if (skipped && out.length > 0) out.push({ kind: "skip", text: `${skipped} unchanged ${skipped === 1 ? "line" : "lines"}` });
  return out;
}
