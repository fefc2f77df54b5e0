import { expect, test } from "vitest";

import { create } from "@bufbuild/protobuf";

import { ModelTensorSchema } from "../src/gen/edgeflow/v1/model_pb";
import { describe as described, tensorText } from "../src/lib/models";

test("a description is read as far as it can be", () => {
  expect(described('{"about":"bolts","labels":["bolt",7],"family":"yolov8","new":1}')).toEqual({
    about: "bolts",
    licence: "",
    family: "yolov8",
    labels: ["bolt"],
  });
  for (const odd of ["", "{", "null", "[]", '{"labels":"bolt"}']) expect(described(odd).labels).toEqual([]);
});

test("any size is told", () => {
  expect(tensorText(create(ModelTensorSchema, { name: "images", dims: [1n, 3n, -1n] }))).toBe("images [1, 3, any]");
});
