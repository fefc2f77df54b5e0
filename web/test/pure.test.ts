import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";

import { LogLineSchema } from "../src/gen/edgeflow/v1/control_pb";
import { InstancePhase, InstanceStatusSchema } from "../src/gen/edgeflow/v1/status_pb";
import { LinkInfoSchema } from "../src/gen/edgeflow/v1/system_pb";
import { waitMs } from "../src/lib/backoff";
import { diffLines } from "../src/lib/diff";
import { layout } from "../src/lib/layout";
import { addLines, emptyLog, MAX_LINES } from "../src/lib/log-buffer";
import { linkFigures, matches, worstTone } from "../src/lib/model";
import { matchPath, paths } from "../src/lib/router";

describe("a link's figures", () => {
  const link = create(LinkInfoSchema, { id: "camera->detect", from: "camera", to: "detect", transport: "unix" });
  const producer = create(InstanceStatusSchema, {
    node: "camera",
    phase: InstancePhase.READY,
    stats: { outputs: [{ link: "camera->detect", produced: 100n, delivered: 90n, inFlight: 1n, dropped: { superseded: 9n }, transport: "unix" }] },
  });
  const consumer = (fps: number, p50Us: number) =>
    create(InstanceStatusSchema, {
      node: "detect",
      phase: InstancePhase.READY,
      stats: { inputs: [{ link: "camera->detect", fps, dropped: { expired: 2n }, hop: { p50Us, p95Us: 9, p99Us: 9, maxUs: 9 }, connected: 1, expected: 1 }] },
    });

  it("add up over replicas and take the slower one's latency", () => {
    const figures = linkFigures(link, [producer, consumer(10, 50), consumer(12, 80)]);
    expect(figures).toMatchObject({ fps: 22, produced: 100, delivered: 90, inFlight: 1, droppedTotal: 13, connected: 2, expected: 2, live: true });
    expect(figures.dropped).toEqual({ superseded: 9, expired: 4 });
    expect(figures.hop?.p50).toBe(80);
  });

  it("are idle without instances", () => {
    expect(linkFigures(link, [])).toMatchObject({ live: false, fps: 0, transport: "unix", hop: null });
  });
});

describe("the layout", () => {
  it("puts each node after all that feed it", () => {
    const placed = layout(["view", "a", "b", "c"], [{ from: "a", to: "b" }, { from: "b", to: "c" }, { from: "a", to: "c" }, { from: "c", to: "view" }]);
    expect(Object.fromEntries(placed.map((at) => [at.id, at.layer]))).toEqual({ a: 0, b: 1, c: 2, view: 3 });
  });
  it("ends on a cycle", () => {
    expect(layout(["a", "b"], [{ from: "a", to: "b" }, { from: "b", to: "a" }])).toHaveLength(2);
  });
});

describe("a diff", () => {
  it("shows what changed with its surroundings", () => {
    const before = ["1", "2", "3", "4", "5", "6", "7", "8"].join("\n");
    const after = before.replace("5", "five");
    expect(diffLines(before, after, 1).map((line) => `${line.kind} ${line.text}`)).toEqual([
      "skip 3 unchanged lines", "same 4", "del 5", "add five", "same 6", "skip 2 unchanged lines",
    ]);
  });
  it("of equal texts is empty", () => {
    expect(diffLines("a\nb", "a\nb")).toEqual([]);
  });
});

describe("the log buffer", () => {
  it("keeps the newest lines and counts the rest", () => {
    const lines = Array.from({ length: MAX_LINES + 10 }, (_, index) => create(LogLineSchema, { text: `line ${index}` }));
    const buffer = addLines(emptyLog, lines);
    expect(buffer.lines).toHaveLength(MAX_LINES);
    expect(buffer.lines[0]?.message).toBe("line 10");
    expect(buffer.forgotten).toBe(10);
  });
  it("takes terminal colours out", () => {
    expect(addLines(emptyLog, [create(LogLineSchema, { text: "\u001b[31mERROR\u001b[0m bad" })]).lines[0]).toMatchObject({ level: "error", message: "ERROR bad" });
  });
});

describe("waiting", () => {
  it("grows from one second to fifteen", () => {
    expect([0, 1, 2, 3, 4, 50].map((attempt) => waitMs(attempt, () => 0))).toEqual([1000, 2000, 4000, 8000, 15_000, 15_000]);
    expect(waitMs(0, () => 1)).toBe(750);
  });
});

describe("addresses", () => {
  it("take names with any character", () => {
    const path = paths.system("a b/ü");
    expect(matchPath("/systems/:name", path)).toEqual({ name: "a b/ü" });
    expect(matchPath("/systems/:name", "/systems")).toBeNull();
    expect(matchPath("/systems/:name", "/systems/%ff")).toBeNull();
  });
});

it("a search needs every word", () => {
  expect(matches("edge-1 site=berlin ready", "BERLIN edge")).toBe(true);
  expect(matches("edge-1 site=berlin ready", "berlin paris")).toBe(false);
});

it("the worst state is the one shown", () => {
  expect(worstTone(["ok", "info", "bad"])).toBe("bad");
  expect(worstTone(["ok", "ok"])).toBe("ok");
});
