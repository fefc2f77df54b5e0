import { describe, expect, it } from "vitest";

import { boxText, letterbox, placeBox } from "../src/lib/boxes";
import { labelColour } from "../src/lib/colour";

describe("a picture in a tile", () => {
  it("that is wider gets bars above and below", () => {
    expect(letterbox(1280, 720, 400, 400)).toEqual({ x: 0, y: 87.5, w: 400, h: 225 });
  });
  it("that is taller gets bars at its sides", () => {
    expect(letterbox(480, 640, 400, 400)).toEqual({ x: 50, y: 0, w: 300, h: 400 });
  });
  it("without a size takes no room", () => {
    expect(letterbox(0, 0, 400, 400)).toEqual({ x: 0, y: 0, w: 0, h: 0 });
  });
});

describe("a box", () => {
  const area = { x: 0, y: 87.5, w: 400, h: 225 };
  it("lands where it is in the picture", () => {
    expect(placeBox({ x: 640, y: 360, w: 320, h: 180 }, 1280, 720, area)).toEqual({ x: 200, y: 200, w: 100, h: 56.25 });
  });
  it("is cut at the picture's edge", () => {
    expect(placeBox({ x: -100, y: -100, w: 2000, h: 2000 }, 1280, 720, area)).toEqual(area);
  });
  it("outside of the picture has no size", () => {
    expect(placeBox({ x: 2000, y: 0, w: 10, h: 10 }, 1280, 720, area).w).toBe(0);
  });
  it("says its label and score", () => {
    expect(boxText({ label: "face", score: 0.876, x: 0, y: 0, w: 1, h: 1 })).toBe("face 88%");
    expect(boxText({ label: "motion", score: 0, x: 0, y: 0, w: 1, h: 1 })).toBe("motion");
  });
  it("says its number where it is tracked", () => {
    expect(boxText({ label: "face", score: 0.876, track: 7, x: 0, y: 0, w: 1, h: 1 })).toBe("face #7");
  });
  it("keeps the colour of its label", () => {
    expect(labelColour("person")).toBe(labelColour("person"));
  });
});
