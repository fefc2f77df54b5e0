import { expect, test } from "vitest";

import { create } from "@bufbuild/protobuf";

import { ModelSchema, ModelTensorSchema } from "../src/gen/edgeflow/v1/model_pb";
import { describe as described, tensorText, usage } from "../src/lib/models";

test("a description is read as far as it can be", () => {
  expect(described('{"about":"bolts","labels":["bolt",7],"family":"yolov8","new":1}')).toEqual({
    about: "bolts",
    licence: "",
    family: "yolov8",
    labels: ["bolt"],
  });
  for (const odd of ["", "{", "null", "[]", '{"labels":"bolt"}']) expect(described(odd).labels).toEqual([]);
});

test("a manifest names a model by the node that takes it", () => {
  const tensor = (...dims: bigint[]) => ({ name: "x", dims });
  const picture = tensor(-1n, 3n, 224n, 224n);
  const told = (outputs: ReturnType<typeof tensor>[], description = "", inputs = [picture]) =>
    usage(create(ModelSchema, { name: "mine", inputs, outputs, description }));
  expect(told([tensor(1n, 84n, 8400n)])).toBe("detect: {use: detect, with: {model: mine}}");
  expect(told([tensor(-1n, 4n)])).toBe("classify: {use: classify, with: {model: mine}}");
  expect(told([tensor(-1n, 4n)], '{"family":"yolov8"}')).toBe("detect: {use: detect, with: {model: mine}}");
  expect(told([tensor(1n, 4n, 1n, 1n)], '{"family":"classes"}')).toBe("classify: {use: classify, with: {model: mine}}");
  expect(told([], "", [])).toBe("models: [mine]");
});

test("any size is told", () => {
  expect(tensorText(create(ModelTensorSchema, { name: "images", dims: [1n, 3n, -1n] }))).toBe("images [1, 3, any]");
});
