import { encode } from "@msgpack/msgpack";
import { describe, expect, it } from "vitest";

import { FrameError, HEADER_LEN, parseFrame, parseTileMessage, readDetections, readMeta } from "../src/lib/frame";

interface Parts {
  kind?: number;
  codec?: number;
  version?: number;
  meta?: Uint8Array;
  payload?: Uint8Array;
}

/** A frame laid out by the table in crates/stream/src/frame.rs, field by field. */
function frameBytes({ kind = 1, codec = 1, version = 1, meta = new Uint8Array(), payload = new Uint8Array() }: Parts = {}): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(HEADER_LEN + meta.length + payload.length);
  const view = new DataView(out.buffer);
  out.set(new TextEncoder().encode("EFR1"), 0);
  out.set([version, kind, codec, 0], 4);
  view.setUint32(8, 0x01020304, true);
  view.setUint32(12, 7, true);
  view.setBigUint64(16, 42n, true);
  view.setBigInt64(24, 1_700_000_000_123_456_789n, true);
  view.setUint16(48, 640, true);
  view.setUint16(50, 480, true);
  view.setUint32(56, meta.length, true);
  view.setUint32(60, payload.length, true);
  out.set(meta, HEADER_LEN);
  out.set(payload, HEADER_LEN + meta.length);
  return out;
}

function withTile(tile: number, frame: Uint8Array): ArrayBuffer {
  const out = new Uint8Array(4 + frame.length);
  new DataView(out.buffer).setUint32(0, tile, true);
  out.set(frame, 4);
  return out.buffer;
}

describe("a frame", () => {
  it("is read with every field at its offset", () => {
    const meta = encode({ detections: [{ label: "face", score: 0.9, x: 1, y: 2, w: 3, h: 4 }], hops: 1 });
    const { tile, frame } = parseTileMessage(withTile(9, frameBytes({ meta, payload: new Uint8Array([255, 216, 255]) })));
    expect(tile).toBe(9);
    expect(frame).toMatchObject({ kind: "frame", codec: "jpeg", streamId: 0x01020304, epoch: 7, seq: 42n, width: 640, height: 480 });
    expect(frame.captureMs).toBeCloseTo(1_700_000_000_123.456, 2);
    expect([...frame.payload]).toEqual([255, 216, 255]);
    expect(readDetections(readMeta(frame))).toEqual([{ label: "face", score: expect.closeTo(0.9, 5), x: 1, y: 2, w: 3, h: 4 }]);
  });

  it("of a newer codec is still a frame", () => {
    expect(parseFrame(frameBytes({ codec: 200 }).buffer).codec).toBe("other");
  });

  it.each([
    ["too short for a header", frameBytes().slice(0, 95)],
    ["of another magic", frameBytes().fill(0, 0, 1)],
    ["of another version", frameBytes({ version: 2 })],
    ["of an unknown kind", frameBytes({ kind: 0 })],
    ["cut in its payload", frameBytes({ payload: new Uint8Array(10) }).slice(0, -1)],
    ["with bytes after it", new Uint8Array([...frameBytes(), 0])],
  ])("%s is refused", (_, bytes) => {
    expect(() => parseFrame(bytes.buffer)).toThrow(FrameError);
  });

  it("that claims more than the limit is refused before anything is read", () => {
    const bytes = frameBytes();
    new DataView(bytes.buffer).setUint32(60, 0xffff_ffff, true);
    expect(() => parseFrame(bytes.buffer)).toThrow("too large");
  });
});

describe("metadata", () => {
  it("that is broken is empty", () => {
    expect(readMeta(parseFrame(frameBytes({ meta: new Uint8Array([0xc1, 0xff]) }).buffer))).toEqual({});
    expect(readMeta(parseFrame(frameBytes({ meta: encode([1, 2]) }).buffer))).toEqual({});
    expect(readMeta(parseFrame(frameBytes().buffer))).toEqual({});
  });

  it("keeps the good detections among bad ones", () => {
    const list = [null, 1, { x: "a" }, { x: 0, y: 0, w: Number.NaN, h: 1 }, { x: 1, y: 1, w: 1, h: 1 }];
    expect(readDetections({ detections: list })).toEqual([{ label: "", score: 0, x: 1, y: 1, w: 1, h: 1 }]);
    expect(readDetections({ detections: "no" })).toEqual([]);
  });

  it("reads an outline, and does without one that is no polygon", () => {
    const box = { label: "a", score: 1, x: 0, y: 0, w: 9, h: 9 };
    const outline = [[0, 0], [9, 0], [5, 9]];
    expect(readDetections({ tracks: [{ ...box, id: 3, outline }] })).toEqual([{ ...box, track: 3, outline }]);
    for (const bad of ["no", [[0, 0]], [[0, 0], [1], [2, 2]], [[0, 0], [1, Number.NaN], [2, 2]], Array(999).fill([1, 1])]) {
      expect(readDetections({ detections: [{ ...box, outline: bad }] })).toEqual([box]);
    }
  });

  it("never draws more boxes than the limit", () => {
    const detections = Array.from({ length: 2000 }, () => ({ label: "a", score: 1, x: 0, y: 0, w: 1, h: 1 }));
    expect(readDetections({ detections })).toHaveLength(512);
  });
});
