import { describe, expect, it } from "vitest";

import { readDetections } from "../src/lib/frame";
import { readShapes } from "../src/lib/zones";

describe("zones and lines", () => {
  const zones = {
    zones: [{ name: "door", points: [[0, 0], [10, 0], [10, 20]], count: 2, entered: 5, left: 3, longest_ms: 100 }],
    lines: [{ name: "sill", points: [[5, 0], [5, 20]], forward: 4, backward: 1 }],
  };
  it("are read with what is shown", () => {
    const shapes = readShapes({ zones });
    expect(shapes.map((shape) => [shape.name, shape.closed, shape.text])).toEqual([
      ["door", true, "2"],
      ["sill", false, "4 fwd, 1 back"],
    ]);
    expect(shapes[0]?.points).toEqual([[0, 0], [10, 0], [10, 20]]);
  });
  it("that make no sense are left out", () => {
    for (const bad of [null, 7, [], "zones", { zones: 7 }, { zones: [null, { points: "x" }, { points: [[0, 0]] }, { points: [[0, NaN], [1, 1], [2, 2]] }] }]) {
      expect(readShapes({ zones: bad })).toEqual([]);
    }
    expect(readShapes({ zones: { zones: Array.from({ length: 1000 }, () => zones.zones[0]) } }).length).toBeLessThan(100);
  });
});

describe("tracks", () => {
  it("are drawn in the place of the detections that they were made of", () => {
    const box = { label: "person", score: 0.5, x: 1, y: 2, w: 3, h: 4 };
    const both = { detections: [box, box], tracks: [{ ...box, id: 12, seen_ms: 100 }] };
    expect(readDetections(both)).toEqual([{ ...box, track: 12 }]);
    expect(readDetections({ detections: [box] })).toEqual([box]);
  });
});
