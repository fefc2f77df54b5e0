// Models that the control plane keeps, in words. Pure.
import type { ModelTensor } from "../gen/edgeflow/v1/model_pb";

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

/** `images [1, 3, 640, 640]` */
export function tensorText(tensor: ModelTensor): string {
  return `${tensor.name} [${tensor.dims.map((dim) => (dim < 0n ? "any" : String(dim))).join(", ")}]`;
}
