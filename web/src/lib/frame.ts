// Frame v1 as the browser sees it. Owns reading the 96-byte header and the metadata; the layout is
// documented in crates/stream/src/frame.rs and must stay in step with it.
import { decode } from "@msgpack/msgpack";

import { readPoints, type Point } from "./zones";

export const HEADER_LEN = 96;
/** Limits of the server (frame.rs), checked before anything is sliced. */
export const MAX_META = 256 * 1024;
export const MAX_PAYLOAD = 64 * 1024 * 1024;
/** Boxes drawn on one picture; the rest is counted but not drawn. */
export const MAX_BOXES = 512;

const KINDS = ["", "frame", "gap", "error", "end", "heartbeat"] as const;
const CODECS = ["none", "jpeg", "h264", "rgb8", "yuyv", "nv12", "tensor", "bytes", "json", "grey8"] as const;

export type FrameKind = Exclude<(typeof KINDS)[number], "">;
export type Codec = (typeof CODECS)[number] | "other";

export interface Detection {
  label: string;
  score: number;
  x: number;
  y: number;
  w: number;
  h: number;
  /** Number of the track that it belongs to. */
  track?: number;
  /** Where it ends, where more than its box is known. */
  outline?: Point[];
}

export interface Frame {
  kind: FrameKind;
  codec: Codec;
  streamId: number;
  epoch: number;
  seq: bigint;
  /** Milliseconds since 1970, with fractions. */
  captureMs: number;
  width: number;
  height: number;
  meta: Uint8Array;
  payload: Uint8Array<ArrayBuffer>;
}

export class FrameError extends Error {}

/** Splits a message of the live-view socket into its tile and the frame after it. */
export function parseTileMessage(buffer: ArrayBuffer): { tile: number; frame: Frame } {
  if (buffer.byteLength < 4) throw new FrameError("message without a tile number");
  const tile = new DataView(buffer).getUint32(0, true);
  return { tile, frame: parseFrame(buffer, 4) };
}

export function parseFrame(buffer: ArrayBuffer, start = 0): Frame {
  if (buffer.byteLength < start + HEADER_LEN) throw new FrameError("frame is cut short");
  const view = new DataView(buffer, start);
  if (view.getUint32(0, false) !== 0x45465231) throw new FrameError("not a frame");
  const version = view.getUint8(4);
  if (version !== 1) throw new FrameError(`frame version ${version} is not supported`);
  const kind = KINDS[view.getUint8(5)];
  if (!kind) throw new FrameError(`unknown frame kind ${view.getUint8(5)}`);
  const metaLen = view.getUint32(56, true);
  const payloadLen = view.getUint32(60, true);
  if (metaLen > MAX_META || payloadLen > MAX_PAYLOAD) throw new FrameError("frame is too large");
  const metaAt = start + HEADER_LEN;
  if (buffer.byteLength !== metaAt + metaLen + payloadLen) {
    throw new FrameError("frame length does not match its header");
  }
  return {
    kind,
    codec: CODECS[view.getUint8(6)] ?? "other",
    streamId: view.getUint32(8, true),
    epoch: view.getUint32(12, true),
    seq: view.getBigUint64(16, true),
    captureMs: Number(view.getBigInt64(24, true) / 1000n) / 1000,
    width: view.getUint16(48, true),
    height: view.getUint16(50, true),
    meta: new Uint8Array(buffer, metaAt, metaLen),
    payload: new Uint8Array(buffer, metaAt + metaLen, payloadLen),
  };
}

/** The metadata map; an empty one when there is none or it can't be read. */
export function readMeta(frame: Frame): Record<string, unknown> {
  if (frame.meta.length === 0) return {};
  try {
    const value = decode(frame.meta, { maxStrLength: MAX_META, maxArrayLength: 65_536, maxMapLength: 65_536 });
    return value !== null && typeof value === "object" && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : {};
  } catch {
    return {};
  }
}

/** The well-formed entries of `tracks`, or of `detections` where nothing is tracked. */
export function readDetections(meta: Record<string, unknown>): Detection[] {
  const list = meta["tracks"] ?? meta["detections"];
  if (!Array.isArray(list)) return [];
  const out: Detection[] = [];
  for (const entry of list as unknown[]) {
    if (out.length >= MAX_BOXES) break;
    if (entry === null || typeof entry !== "object") continue;
    const item = entry as Record<string, unknown>;
    const { x, y, w, h, score, label, id } = item;
    if (![x, y, w, h].every((value) => typeof value === "number" && Number.isFinite(value))) continue;
    const outline = readPoints(item["outline"], 3);
    out.push({
      label: typeof label === "string" ? label : "",
      score: typeof score === "number" ? score : 0,
      x: x as number,
      y: y as number,
      w: w as number,
      h: h as number,
      ...(typeof id === "number" || typeof id === "bigint" ? { track: Number(id) } : {}),
      ...(outline ? { outline } : {}),
    });
  }
  return out;
}
