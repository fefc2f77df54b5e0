import { create } from "@bufbuild/protobuf";
import { createElement } from "react";
import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, it, vi } from "vitest";

import { ParameterSchema } from "../src/gen/edgeflow/v1/status_pb";
import { NodeInfoSchema, SystemSchema } from "../src/gen/edgeflow/v1/system_pb";
import { changesOf, fieldNamed, fieldsOf, rangeOf, readField, stepOf, textOf, type Field } from "../src/lib/params";

// The client wants a page's address.
vi.stubGlobal("location", { origin: "http://127.0.0.1" });
const { ParamsForm } = await import("../src/ui/params-form");

const share = { min: 0, max: 1, live: true };
const node = create(NodeInfoSchema, {
  name: "detect",
  uses: "detect",
  paramsJson: '{"model":"centerface","labels":["face"]}',
  parameters: [
    create(ParameterSchema, { name: "model", kind: "model", required: true, options: ["centerface"] }),
    create(ParameterSchema, { name: "threshold", kind: "number", defaultJson: "0.4", ...share }),
    create(ParameterSchema, { name: "iou", kind: "number", defaultJson: "0.45", ...share }),
    create(ParameterSchema, { name: "labels", kind: "text_list", live: true }),
    create(ParameterSchema, { name: "mode", kind: "choice", options: ["day", "night"], live: true, defaultJson: '"day"' }),
    create(ParameterSchema, { name: "every", kind: "integer", min: 1, max: 9, live: true, defaultJson: "3" }),
    create(ParameterSchema, { name: "draw", kind: "bool", live: true, defaultJson: "true" }),
  ],
  overrides: [{ name: "threshold", valueJson: "0.6", durable: true }],
});

function field(name: string): Field {
  const found = fieldsOf(node).find((one) => one.name === name);
  if (!found) throw new Error(name);
  return found;
}

describe("a field for a map", () => {
  const node = create(NodeInfoSchema, { name: "camera", uses: "camera", parameters: [create(ParameterSchema, { name: "controls", kind: "number_map", live: true })] });
  it("takes JSON and pairs, and sends a map", () => {
    const [one] = fieldsOf(node);
    expect(one && readField(one, '{"brightness": 140}')).toEqual({ value: { brightness: 140 }, problem: "" });
    expect(one && readField(one, "brightness=140, gain=-1")).toEqual({ value: { brightness: 140, gain: -1 }, problem: "" });
    expect(one && readField(one, "bright").problem).not.toBe("");
  });
});

describe("the fields", () => {
  it("show what the node works with and where it comes from", () => {
    expect(fieldsOf(node).map((one) => [one.name, textOf(one), one.from, one.live])).toEqual([
      ["model", "centerface", "manifest", false],
      ["threshold", "0.6", "set", true],
      ["iou", "0.45", "default", true],
      ["labels", "face", "manifest", true],
      ["mode", "day", "default", true],
      ["every", "3", "default", true],
      ["draw", "true", "default", true],
    ]);
    expect(field("threshold")).toMatchObject({ durable: true, manifest: 0.4 });
    expect([rangeOf(field("iou")), stepOf(field("iou")), stepOf(field("every"))]).toEqual(["from 0 to 1", "0.01", "1"]);
  });
  it("of a command that has not run yet are read-only", () => {
    const command = create(NodeInfoSchema, { name: "count", paramsJson: '{"gain":2}' });
    expect(fieldsOf(command)).toMatchObject([{ name: "gain", value: 2, live: false }]);
    expect(fieldsOf(create(NodeInfoSchema, { paramsJson: "broken" }))).toEqual([]);
  });
});

describe("a draft", () => {
  it("becomes typed changes of what differs", () => {
    const draft = { threshold: "0.60", iou: "0.5", labels: "face,  person", mode: "night", every: "4", draw: "false", model: "other" };
    expect(changesOf(fieldsOf(node), draft)).toEqual({
      set: [
        { name: "iou", json: "0.5" },
        { name: "labels", json: '["face","person"]' },
        { name: "mode", json: '"night"' },
        { name: "every", json: "4" },
        { name: "draw", json: "false" },
      ],
      problems: {},
    });
  });
  it("with values that do not fit is not sent", () => {
    const { set, problems } = changesOf(fieldsOf(node), { threshold: "2", iou: "x", every: "1.5" });
    expect(set).toEqual([]);
    expect(problems).toEqual({ threshold: "It has to be from 0 to 1.", iou: "It has to be a number.", every: "It has to be a whole number." });
    expect(readField(field("threshold"), " ").problem).toBe("It has to be a number.");
  });
});

it("a problem of the server finds its field", () => {
  expect(fieldNamed(fieldsOf(node), "parameter `iou` of node `detect`: 2 is out of range")).toBe("iou");
  expect(fieldNamed(fieldsOf(node), "there is no node `x`")).toBeUndefined();
});

describe("the form", () => {
  const html = renderToStaticMarkup(createElement(ParamsForm, { system: create(SystemSchema, { name: "s" }), node }));
  it("has an input for each live parameter and text for the others", () => {
    expect(html).toMatch(/<input[^>]*id="s-detect-threshold"[^>]*type="number"[^>]*min="0"[^>]*max="1"[^>]*value="0.6"/);
    expect(html).toMatch(/<select[^>]*id="s-detect-mode"/);
    expect(html).toMatch(/<input[^>]*id="s-detect-draw"[^>]*type="checkbox"[^>]*checked/);
    expect(html).toMatch(/<code id="s-detect-model">centerface<\/code>/);
    expect(html).toContain("Changing it restarts the node");
  });
  it("marks what was set and offers the way back", () => {
    expect(html).toContain("set, durable");
    expect(html).toContain("Back to the manifest&#x27;s threshold");
    expect(html.match(/Back to manifest/g)).toHaveLength(1);
  });
  it("is left out for a node without parameters", () => {
    expect(renderToStaticMarkup(createElement(ParamsForm, { system: create(SystemSchema), node: create(NodeInfoSchema) }))).toBe("");
  });
});
