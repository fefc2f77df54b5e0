import { describe, expect, it } from "vitest";

import { ago, bytes, dropPercent, duration, fps, micros, percent, splitLog, words } from "../src/lib/format";

describe("numbers", () => {
  it("read in the unit that fits", () => {
    expect(bytes(0)).toBe("0 B");
    expect(bytes(1536)).toBe("1.5 KiB");
    expect(bytes(8n * 1024n ** 3n)).toBe("8.0 GiB");
    expect(micros(84)).toBe("84 µs");
    expect(micros(4100)).toBe("4.1 ms");
    expect(micros(2_340_000)).toBe("2.3 s");
    expect(fps(29.84)).toBe("29.8");
    expect(fps(120.2)).toBe("120");
    expect(percent(0.256)).toBe("26 %");
  });
  it("of drops are zero only when nothing was dropped", () => {
    expect(dropPercent(0, 1000)).toBe("0 %");
    expect(dropPercent(1, 100_000)).toBe("< 0.1 %");
    expect(dropPercent(2, 1000)).toBe("0.2 %");
    expect(dropPercent(1, 0)).toBe("0 %");
  });
});

describe("times", () => {
  it("keep two units", () => {
    expect(duration(8000)).toBe("8 s");
    expect(duration(200_000)).toBe("3 m 20 s");
    expect(duration(18_120_000)).toBe("5 h 2 m");
    expect(duration(273_600_000)).toBe("3 d 4 h");
    expect(duration(-5)).toBe("0 s");
  });
  it("past are told from now", () => {
    expect(ago(1000n, 13_000)).toBe("12 s ago");
    expect(ago(13_000, 13_500)).toBe("just now");
    expect(ago(0n, 13_000)).toBe("");
  });
});

describe("a log line", () => {
  it("of the SDK is taken apart", () => {
    const line = '{"timestamp":"2026-01-01T00:00:00Z","level":"WARN","fields":{"message":"reconnecting","attempt":3},"target":"x"}';
    expect(splitLog(line)).toEqual({ level: "warn", message: "reconnecting", fields: "attempt=3" });
  });
  it("with flat JSON fields is taken apart too", () => {
    expect(splitLog('{"level":"info","msg":"up","port":7}')).toEqual({ level: "info", message: "up", fields: "port=7" });
  });
  it("of another program is shown as it is, with its level", () => {
    expect(splitLog("ERROR: no such file")).toEqual({ level: "error", message: "ERROR: no such file", fields: "" });
    expect(splitLog("[WARNING] low disk").level).toBe("warn");
    expect(splitLog("plain text").level).toBe("");
    expect(splitLog("{not json").message).toBe("{not json");
    expect(splitLog('{"a":1}')).toEqual({ level: "", message: '{"a":1}', fields: "" });
  });
});

it("names become words", () => {
  expect(words("InstanceExited")).toBe("instance exited");
  expect(words("no_consumer")).toBe("no consumer");
});
