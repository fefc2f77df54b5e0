// What the reported state means: phases as words and colours, a link's figures over all its
// instances. Pure.
import { DeviceHealth } from "../gen/edgeflow/v1/device_pb";
import { InstancePhase, type InstanceStatus } from "../gen/edgeflow/v1/status_pb";
import { SystemPhase, type LinkInfo } from "../gen/edgeflow/v1/system_pb";

export type Tone = "ok" | "warn" | "bad" | "info" | "off";

export function deviceHealth(health: DeviceHealth): { text: string; tone: Tone } {
  switch (health) {
    case DeviceHealth.READY:
      return { text: "ready", tone: "ok" };
    case DeviceHealth.DEGRADED:
      return { text: "degraded", tone: "warn" };
    case DeviceHealth.OFFLINE:
      return { text: "offline", tone: "bad" };
    case DeviceHealth.PENDING:
      return { text: "pending", tone: "info" };
    default:
      return { text: "unknown", tone: "off" };
  }
}

export function instancePhase(phase: InstancePhase): { text: string; tone: Tone } {
  switch (phase) {
    case InstancePhase.READY:
      return { text: "ready", tone: "ok" };
    case InstancePhase.PENDING:
      return { text: "pending", tone: "info" };
    case InstancePhase.STARTING:
      return { text: "starting", tone: "info" };
    case InstancePhase.BACKOFF:
      return { text: "restarting", tone: "warn" };
    case InstancePhase.CRASH_LOOP:
      return { text: "crash loop", tone: "bad" };
    case InstancePhase.FAILED:
      return { text: "failed", tone: "bad" };
    case InstancePhase.STOPPING:
      return { text: "stopping", tone: "off" };
    case InstancePhase.STOPPED:
      return { text: "stopped", tone: "off" };
    default:
      return { text: "unknown", tone: "off" };
  }
}

export function systemPhase(phase: SystemPhase | undefined): { text: string; tone: Tone } {
  switch (phase) {
    case SystemPhase.READY:
      return { text: "ready", tone: "ok" };
    case SystemPhase.PROGRESSING:
      return { text: "progressing", tone: "info" };
    case SystemPhase.DEGRADED:
      return { text: "degraded", tone: "bad" };
    case SystemPhase.UNPLACED:
      return { text: "no device", tone: "warn" };
    default:
      return { text: "unknown", tone: "off" };
  }
}

const WORST: Tone[] = ["bad", "warn", "info", "off", "ok"];

/** The tone that a person has to see first. */
export function worstTone(tones: Tone[]): Tone {
  return WORST.find((tone) => tones.includes(tone)) ?? "off";
}

export interface LinkFigures {
  fps: number;
  /** Slowest member's percentiles, microseconds; null: nothing measured yet. */
  hop: Percentiles | null;
  age: Percentiles | null;
  produced: number;
  delivered: number;
  inFlight: number;
  bytes: number;
  dropped: Record<string, number>;
  droppedTotal: number;
  transport: string;
  connected: number;
  expected: number;
  /** Frames and bytes that are on the producers' disks. */
  spilled: number;
  spilledBytes: number;
  /** The clock of a producer on another machine minus the consumer's, the least certain; null: one machine. */
  clock: { offsetUs: number; errorUs: number } | null;
  /** Whether any instance reports this link. */
  live: boolean;
}

export interface Percentiles {
  p50: number;
  p95: number;
  p99: number;
  max: number;
}

type Latency = { p50Us: number; p95Us: number; p99Us: number; maxUs: number } | undefined;

function worse(held: Percentiles | null, next: Latency): Percentiles | null {
  if (!next || next.maxUs === 0) return held;
  const seen = { p50: next.p50Us, p95: next.p95Us, p99: next.p99Us, max: next.maxUs };
  return held && held.p50 >= seen.p50 ? held : seen;
}

function addDrops(into: Record<string, number>, drops: { [reason: string]: bigint }): void {
  for (const [reason, n] of Object.entries(drops)) {
    if (n > 0n) into[reason] = (into[reason] ?? 0) + Number(n);
  }
}

/** A link's figures, summed over the instances at both of its ends. */
export function linkFigures(link: LinkInfo, instances: InstanceStatus[]): LinkFigures {
  const out: LinkFigures = {
    fps: 0, hop: null, age: null, produced: 0, delivered: 0, inFlight: 0, bytes: 0, dropped: {}, droppedTotal: 0,
    transport: link.transport, connected: 0, expected: 0, spilled: 0, spilledBytes: 0, clock: null, live: false,
  };
  for (const instance of instances) {
    const running = instance.phase === InstancePhase.READY;
    if (instance.node === link.from) {
      for (const output of instance.stats?.outputs ?? []) {
        if (output.link !== link.id) continue;
        out.live ||= running;
        out.produced += Number(output.produced);
        out.delivered += Number(output.delivered);
        out.inFlight += Number(output.inFlight);
        out.bytes += Number(output.bytes);
        out.spilled += Number(output.spilled);
        out.spilledBytes += Number(output.spilledBytes);
        if (output.transport) out.transport = output.transport;
        addDrops(out.dropped, output.dropped);
      }
    }
    if (instance.node === link.to) {
      for (const input of instance.stats?.inputs ?? []) {
        if (input.link !== link.id) continue;
        if (running) {
          out.fps += input.fps;
          out.hop = worse(out.hop, input.hop);
          out.age = worse(out.age, input.age);
          if (input.clockOffsetUs !== undefined && Number(input.clockErrorUs) >= (out.clock?.errorUs ?? 0)) {
            out.clock = { offsetUs: Number(input.clockOffsetUs), errorUs: Number(input.clockErrorUs) };
          }
        }
        out.connected += input.connected;
        out.expected += input.expected;
        addDrops(out.dropped, input.dropped);
      }
    }
  }
  out.droppedTotal = Object.values(out.dropped).reduce((sum, n) => sum + n, 0);
  return out;
}

/** Facts and labels as one text to search in. */
export function searchText(parts: (string | undefined)[], labels: { [key: string]: string }): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  return [...parts, ...pairs].join(" ").toLowerCase();
}

/** Every word of the query must be there. */
export function matches(text: string, query: string): boolean {
  return query.toLowerCase().split(/\s+/).filter(Boolean).every((word) => text.includes(word));
}
