import { describe, expect, it } from "vitest";

import { placeHops, readHops } from "../src/lib/hops";

const MS = 1_000_000;
const camera = { node: "camera", device: "cam", boot: "a", start_ns: 100 * MS, out_ns: 110 * MS };
const detect = { node: "detect", replica: 1, device: "cam", boot: "a", in_ns: 111 * MS, start_ns: 115 * MS, out_ns: 155 * MS };

describe("the way of a frame", () => {
  it("is a row for each hop: link, wait, loop", () => {
    const way = placeHops(readHops({ hops: [camera, detect] }));
    expect(way.totalUs).toBe(55_000);
    expect(way.rows.map((row) => row.label)).toEqual(["camera", "detect (1)"]);
    expect(way.rows[0]?.spans).toEqual([{ kind: "loop", from: 0, to: 10_000 }]);
    expect(way.rows[1]?.spans).toEqual([
      { kind: "link", from: 10_000, to: 11_000 },
      { kind: "wait", from: 11_000, to: 15_000 },
      { kind: "loop", from: 15_000, to: 55_000 },
    ]);
  });
  it("over two machines is placed by the offset of their clocks", () => {
    // The clock of the other machine is 7 s ahead.
    const ahead = 7_000 * MS;
    const far = { ...detect, boot: "b", device: "box", in_ns: detect.in_ns + ahead, start_ns: detect.start_ns + ahead, out_ns: detect.out_ns + ahead, clock_offset_ns: ahead, clock_error_us: 300 };
    const way = placeHops(readHops({ hops: [camera, far, { ...far, node: "log" }] }));
    expect(way.rows[1]?.spans[0]).toEqual({ kind: "link", from: 10_000, to: 11_000 });
    expect(way.rows[1]?.note).toBe("± 0.3 ms");
    expect(way.rows[2]?.note).toBe("");
    const unknown = placeHops(readHops({ hops: [camera, { ...far, clock_offset_ns: undefined }] }));
    expect(unknown.rows[1]?.note).toBe("clock offset unknown");
    expect(unknown.rows[1]?.spans[0]).toEqual({ kind: "wait", from: 10_000, to: 14_000 });
  });
  it("that makes no sense is none", () => {
    for (const hops of [undefined, 7, [null], [{ node: 7, start_ns: 1 }], [{ node: "a", start_ns: "x" }]]) {
      expect(placeHops(readHops({ hops })).rows).toEqual([]);
    }
    expect(readHops({ hops: Array.from({ length: 100 }, () => camera) }).length).toBe(32);
  });
});
