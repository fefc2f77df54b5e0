// A node's parameters as a form: which fields there are, what a field's text means, and whether it
// fits. The server checks again, and its word counts. Pure.
import type { Parameter } from "../gen/edgeflow/v1/status_pb";
import type { NodeInfo } from "../gen/edgeflow/v1/system_pb";

export type Input = "checkbox" | "number" | "select" | "text" | "list" | "model" | "json";

export interface Field {
  name: string;
  input: Input;
  /** What the node works with: set, given in the manifest, or its default. */
  value: unknown;
  /** The value without what was set. */
  manifest: unknown;
  from: "set" | "manifest" | "default";
  /** What was set outlives the next apply. */
  durable: boolean;
  live: boolean;
  /** Why it can't be changed here; empty if it can. */
  why: string;
  min?: number;
  max?: number;
  whole: boolean;
  options: string[];
  summary: string;
}

const INPUTS: Record<string, Input> = { bool: "checkbox", integer: "number", number: "number", choice: "select", text_list: "list", model: "model", number_map: "json", shapes: "json" };

/** Declared parameters first, in their order, then what else the manifest gives. */
export function fieldsOf(node: NodeInfo): Field[] {
  const given = readObject(node.paramsJson);
  const fields = node.parameters.map((parameter) => declaredField(node, parameter, given));
  const known = new Set(node.parameters.map((parameter) => parameter.name));
  for (const [name, value] of Object.entries(given)) {
    if (known.has(name)) continue;
    const why = node.parameters.length > 0 ? "The node does not declare it." : "The node has not told its parameters; a command does once it is ready.";
    fields.push({ name, input: "text", value, manifest: value, from: "manifest", durable: false, live: false, why, whole: false, options: [], summary: "" });
  }
  return fields;
}

function declaredField(node: NodeInfo, parameter: Parameter, given: Record<string, unknown>): Field {
  const set = node.overrides.find((item) => item.name === parameter.name);
  const inManifest = parameter.name in given;
  const manifest = inManifest ? given[parameter.name] : readJson(parameter.defaultJson);
  return {
    name: parameter.name,
    input: INPUTS[parameter.kind] ?? "text",
    value: set ? readJson(set.valueJson) : manifest,
    manifest,
    from: set ? "set" : inManifest ? "manifest" : "default",
    durable: set?.durable ?? false,
    live: parameter.live,
    why: parameter.live ? "" : "Changing it restarts the node: edit the manifest.",
    min: finite(parameter.min),
    max: finite(parameter.max),
    whole: parameter.kind === "integer",
    options: parameter.options,
    summary: parameter.summary,
  };
}

function finite(value: number | undefined): number | undefined {
  return value !== undefined && Number.isFinite(value) ? value : undefined;
}

/** What stands in the field. */
export function textOf(field: Field, value: unknown = field.value): string {
  if (value === undefined || value === null) return "";
  if (field.input === "list" && Array.isArray(value)) return value.join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** The value that a field's text means, or what is wrong with it. */
export function readField(field: Field, text: string): { value: unknown; problem: string } {
  const trimmed = text.trim();
  switch (field.input) {
    case "checkbox":
      return { value: trimmed === "true", problem: "" };
    case "number":
      return readNumber(field, trimmed);
    case "list":
      return { value: trimmed.split(",").map((item) => item.trim()).filter(Boolean), problem: "" };
    case "json":
      return readJsonField(trimmed);
    default:
      return { value: trimmed, problem: trimmed === "" ? "It is empty." : "" };
  }
}

/** JSON, or `a=1, b=2` as it is quicker to type. */
function readJsonField(text: string): { value: unknown; problem: string } {
  try {
    return { value: JSON.parse(text) as unknown, problem: "" };
  } catch {
    const pairs = text.split(",").map((pair) => /^\s*(\w+)\s*[=:]\s*(-?[\d.]+)\s*$/.exec(pair));
    if (pairs.every((pair) => pair !== null)) return { value: Object.fromEntries(pairs.map((pair) => [pair[1], Number(pair[2])])), problem: "" };
    return { value: text, problem: 'It has to be like {"brightness": 140} or brightness=140.' };
  }
}

function readNumber(field: Field, text: string): { value: unknown; problem: string } {
  const value = Number(text);
  if (text === "" || !Number.isFinite(value)) return { value: text, problem: "It has to be a number." };
  if (field.whole && !Number.isInteger(value)) return { value, problem: "It has to be a whole number." };
  const low = field.min !== undefined && value < field.min;
  const high = field.max !== undefined && value > field.max;
  return { value, problem: low || high ? `It has to be ${rangeOf(field)}.` : "" };
}

/** `from 0 to 1`; empty without a range. */
export function rangeOf(field: Field): string {
  if (field.min !== undefined && field.max !== undefined) return `from ${field.min} to ${field.max}`;
  if (field.min !== undefined) return `at least ${field.min}`;
  return field.max !== undefined ? `at most ${field.max}` : "";
}

/** The step of a number field's arrows: a hundredth of small ranges. */
export function stepOf(field: Field): string {
  if (field.whole) return "1";
  return field.min !== undefined && field.max !== undefined && field.max - field.min <= 1 ? "0.01" : "any";
}

export type Draft = Record<string, string>;

/** The changes that a draft asks for, and the problems that keep it from being sent. */
export function changesOf(fields: Field[], draft: Draft): { set: { name: string; json: string }[]; problems: Record<string, string> } {
  const set: { name: string; json: string }[] = [];
  const problems: Record<string, string> = {};
  for (const field of fields) {
    const text = draft[field.name];
    if (text === undefined || !field.live || text === textOf(field)) continue;
    const { value, problem } = readField(field, text);
    if (problem) problems[field.name] = problem;
    else if (JSON.stringify(value) !== JSON.stringify(field.value)) set.push({ name: field.name, json: JSON.stringify(value) });
  }
  return { set, problems };
}

/** The field that a server's problem is about: it names it between backticks. */
export function fieldNamed(fields: Field[], message: string): string | undefined {
  const named = [...message.matchAll(/`([^`]+)`/g)].map((match) => match[1]);
  return fields.find((field) => named.includes(field.name))?.name;
}

function readJson(text: string): unknown {
  try {
    return text ? JSON.parse(text) : undefined;
  } catch {
    return undefined;
  }
}

function readObject(text: string): Record<string, unknown> {
  const value = readJson(text);
  return value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}
