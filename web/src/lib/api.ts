// The typed client of the control plane and what its errors mean to a person.
import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { ControlService } from "../gen/edgeflow/v1/control_pb";
import { auth } from "./auth";

const watchLogin: Interceptor = (next) => async (request) => {
  try {
    return await next(request);
  } catch (error) {
    if (ConnectError.from(error).code === Code.Unauthenticated) auth.set("out");
    throw error;
  }
};

const transport = createGrpcWebTransport({
  baseUrl: location.origin,
  interceptors: [watchLogin],
  fetch: (input, init) =>
    fetch(input, {
      ...init,
      credentials: "same-origin",
      // What is taken away as a page closes is still sent.
      keepalive: typeof input === "string" && input.endsWith("/DeleteSystem"),
    }),
});

export const api = createClient(ControlService, transport);

/** A sentence for a person. */
export function errorText(error: unknown): string {
  const failure = ConnectError.from(error);
  if (isUnreachable(error)) return "The control plane does not answer.";
  return failure.rawMessage || `The control plane answered ${Code[failure.code]}.`;
}

const UNREACHABLE = new Set([Code.Unavailable, Code.Unknown, Code.DeadlineExceeded]);

/** Whether the control plane could not be asked, as far as a browser can tell. */
export function isUnreachable(error: unknown): boolean {
  const failure = ConnectError.from(error);
  return UNREACHABLE.has(failure.code) || /fetch|network|HTTP 5\d\d|missing trailer/i.test(failure.rawMessage);
}

export function isNotFound(error: unknown): boolean {
  return ConnectError.from(error).code === Code.NotFound;
}
