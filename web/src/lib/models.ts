// Models that the control plane keeps, in words. Pure.
import type { Model, ModelTensor } from "../gen/edgeflow/v1/model_pb";

/** What people said of a model; the parts that are shown. */
export interface ModelDescription {
  about: string;
  licence: string;
  family: string;
  labels: string[];
}

/** Reads a description; one of a newer version that can't be read is empty. */
export function describe(json: string): ModelDescription {
  const told: ModelDescription = { about: "", licence: "", family: "", labels: [] };
  if (!json) return told;
  try {
    const read: unknown = JSON.parse(json);
    if (typeof read !== "object" || read === null) return told;
    const text = (key: string) => {
      const value = (read as Record<string, unknown>)[key];
      return typeof value === "string" ? value : "";
    };
    const labels = (read as Record<string, unknown>)["labels"];
    return {
      about: text("about"),
      licence: text("licence"),
      family: text("family"),
      labels: Array.isArray(labels) ? labels.filter((label): label is string => typeof label === "string") : [],
    };
  } catch {
    return told;
  }
}

/** How a manifest names a model: by the node that takes it, or as a file of a node of one's own. A classifier is known by
 * what is told of it, or else by its only output, `[pictures, classes]`. */
export function usage(model: Model): string {
  if (model.inputs.length === 0) return `models: [${model.name}]`;
  const { family } = describe(model.description);
  const classifies = family ? family === "classes" : model.outputs.length === 1 && model.outputs[0]?.dims.length === 2;
  const node = classifies ? "classify" : "detect";
  return `${node}: {use: ${node}, with: {model: ${model.name}}}`;
}

/** `images [1, 3, 640, 640]` */
export function tensorText(tensor: ModelTensor): string {
  return `${tensor.name} [${tensor.dims.map((dim) => (dim < 0n ? "any" : String(dim))).join(", ")}]`;
}
