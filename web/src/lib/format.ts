// Numbers, times and names as text. Pure.

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(value: number | bigint): string {
  let rest = Number(value);
  let unit = 0;
  while (rest >= 1024 && unit < BYTE_UNITS.length - 1) {
    rest /= 1024;
    unit++;
  }
  return `${rest.toFixed(unit === 0 || rest >= 100 ? 0 : 1)} ${BYTE_UNITS[unit]}`;
}

export function percent(share: number, digits = 0): string {
  return `${(share * 100).toFixed(digits)} %`;
}

/** A drop share: never `0.0 %` when something was dropped. */
export function dropPercent(dropped: number, total: number): string {
  if (total <= 0 || dropped <= 0) return "0 %";
  const share = (dropped / total) * 100;
  return share < 0.1 ? "< 0.1 %" : `${share.toFixed(1)} %`;
}

/** Microseconds: `84 µs`, `4.1 ms`, `2.3 s`. */
export function micros(us: number): string {
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 1_000_000) return `${(us / 1000).toFixed(us < 100_000 ? 1 : 0)} ms`;
  return `${(us / 1_000_000).toFixed(1)} s`;
}

export function millis(ms: number): string {
  return micros(ms * 1000);
}

export function fps(value: number): string {
  return value >= 99.95 ? value.toFixed(0) : value.toFixed(1);
}

export function count(value: number | bigint): string {
  return Number(value).toLocaleString("en-US");
}

/** A length of time: `8 s`, `3 m 20 s`, `5 h 2 m`, `3 d 4 h`. */
export function duration(ms: number): string {
  const total = Math.max(0, Math.floor(ms / 1000));
  const d = Math.floor(total / 86_400);
  const h = Math.floor((total % 86_400) / 3600);
  const m = Math.floor((total % 3600) / 60);
  const s = total % 60;
  if (d > 0) return h > 0 ? `${d} d ${h} h` : `${d} d`;
  if (h > 0) return m > 0 ? `${h} h ${m} m` : `${h} h`;
  if (m > 0) return s > 0 ? `${m} m ${s} s` : `${m} m`;
  return `${s} s`;
}

/** `12 s ago`; empty for an unset time. */
export function ago(at: number | bigint, now: number): string {
  const ms = Number(at);
  if (ms <= 0) return "";
  const past = now - ms;
  return past < 1500 ? "just now" : `${coarse(past)} ago`;
}

function coarse(ms: number): string {
  return duration(ms).split(" ").slice(0, 2).join(" ");
}

const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-CA", { year: "numeric", month: "2-digit", day: "2-digit" });

/** Local time with milliseconds, for logs. */
export function logTime(at: number | bigint): string {
  const ms = Number(at);
  return `${TIME.format(ms)}.${String(ms % 1000).padStart(3, "0")}`;
}

export function clock(at: number | bigint): string {
  return TIME.format(Number(at));
}

export function dateTime(at: number | bigint): string {
  const ms = Number(at);
  return ms > 0 ? `${DAY.format(ms)} ${TIME.format(ms)}` : "";
}

/** `CrashLoop` → `crash loop`. */
export function words(name: string): string {
  return name.replace(/_/g, " ").replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

export type Level = "error" | "warn" | "info" | "debug" | "trace" | "";

/** A log line in parts: JSON lines of the SDK become level, message and fields. */
export function splitLog(text: string): { level: Level; message: string; fields: string } {
  if (text.startsWith("{")) {
    try {
      return splitJson(JSON.parse(text) as Record<string, unknown>, text);
    } catch {
      // Not JSON after all: shown as it is.
    }
  }
  const found = /^(?:\S+\s+)?\[?(ERROR|WARN(?:ING)?|INFO|DEBUG|TRACE|FATAL|CRITICAL)\b/i.exec(text.slice(0, 80));
  return { level: toLevel(found?.[1] ?? ""), message: text, fields: "" };
}

function splitJson(line: Record<string, unknown>, text: string) {
  const nested = line["fields"];
  const fields: Record<string, unknown> =
    nested !== null && typeof nested === "object" ? { ...(nested as Record<string, unknown>) } : { ...line };
  const message = fields["message"] ?? line["message"] ?? line["msg"];
  if (typeof message !== "string") return { level: toLevel(String(line["level"] ?? "")), message: text, fields: "" };
  for (const key of ["message", "msg", "level", "timestamp", "time", "ts", "target"]) delete fields[key];
  const rest = Object.entries(fields).map(([key, value]) => {
    return `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`;
  });
  return { level: toLevel(String(line["level"] ?? "")), message, fields: rest.join("  ") };
}

function toLevel(name: string): Level {
  switch (name.toLowerCase()) {
    case "error":
    case "fatal":
    case "critical":
      return "error";
    case "warn":
    case "warning":
      return "warn";
    case "info":
      return "info";
    case "debug":
      return "debug";
    case "trace":
      return "trace";
    default:
      return "";
  }
}
