// The way of one sampled frame: its hops are read and placed on one time line. Pure.

/** Hops shown of one frame. */
const MAX_HOPS = 32;

export interface Hop {
  node: string;
  replica: number;
  device: string;
  /** Names the clock of the times. */
  boot: string;
  /** Nanoseconds of that clock; 0: unknown. */
  inNs: number;
  startNs: number;
  outNs: number;
  /** This clock minus that of the hop before, and the bound of its error; null: not measured. */
  clockOffsetNs: number | null;
  clockErrorUs: number;
}

export type SpanKind = "link" | "wait" | "loop";

export interface Span {
  kind: SpanKind;
  /** Microseconds since the first hop began. */
  from: number;
  to: number;
}

export interface Row {
  label: string;
  device: string;
  spans: Span[];
  /** Why the place of this row is a guess; empty: it is not. */
  note: string;
}

export interface Way {
  rows: Row[];
  totalUs: number;
}

/** The well-formed hops of a frame; none if it is not sampled. */
export function readHops(meta: Record<string, unknown>): Hop[] {
  const list = meta["hops"];
  if (!Array.isArray(list)) return [];
  const out: Hop[] = [];
  for (const entry of list as unknown[]) {
    if (out.length >= MAX_HOPS) break;
    if (entry === null || typeof entry !== "object") return [];
    const item = entry as Record<string, unknown>;
    const startNs = number(item["start_ns"]);
    if (typeof item["node"] !== "string" || startNs <= 0) return [];
    const offset = item["clock_offset_ns"];
    out.push({
      node: item["node"],
      replica: number(item["replica"]),
      device: text(item["device"]),
      boot: text(item["boot"]),
      inNs: number(item["in_ns"]),
      startNs,
      outNs: number(item["out_ns"]),
      clockOffsetNs: typeof offset === "number" || typeof offset === "bigint" ? Number(offset) : null,
      clockErrorUs: number(item["clock_error_us"]),
    });
  }
  return out;
}

function number(value: unknown): number {
  const found = typeof value === "bigint" ? Number(value) : value;
  return typeof found === "number" && Number.isFinite(found) ? found : 0;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** Places hops one behind the other, times of other machines by the measured offset of their clocks. */
export function placeHops(hops: Hop[]): Way {
  const first = hops[0];
  if (!first) return { rows: [], totalUs: 0 };
  const origin = first.startNs;
  let shift = 0;
  let errorUs = 0;
  let leftUs = 0;
  let before: Hop | null = null;
  const rows: Row[] = [];
  for (const hop of hops) {
    let note = "";
    const reached = hop.inNs || hop.startNs;
    if (before && hop.boot !== before.boot) {
      if (hop.clockOffsetNs === null) {
        // Nobody knows how long the link took: it is drawn as if it took no time.
        shift = reached - origin - leftUs * 1000;
        note = "clock offset unknown";
      } else {
        shift += hop.clockOffsetNs;
        errorUs += hop.clockErrorUs;
        note = `± ${(errorUs / 1000).toFixed(1)} ms`;
      }
    }
    const at = (ns: number) => (ns - origin - shift) / 1000;
    const spans: Span[] = [];
    const push = (kind: SpanKind, from: number, to: number) => {
      if (to > from) spans.push({ kind, from, to });
    };
    if (before) push("link", leftUs, at(reached));
    if (hop.inNs) push("wait", at(hop.inNs), at(hop.startNs));
    const done = hop.outNs || hop.startNs;
    push("loop", at(hop.startNs), at(done));
    rows.push({ label: hop.replica > 0 ? `${hop.node} (${hop.replica})` : hop.node, device: hop.device, spans, note });
    leftUs = at(done);
    before = hop;
  }
  const ends = rows.flatMap((row) => row.spans.map((span) => span.to));
  return { rows, totalUs: Math.max(0, ...ends) };
}
