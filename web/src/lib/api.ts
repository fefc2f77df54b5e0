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
  fetch: (input, init) => fetch(input, { ...init, credentials: "same-origin" }),
});

export const api = createClient(ControlService, transport);

/** A sentence for a person. */
export function errorText(error: unknown): string {
  const failure = ConnectError.from(error);
  if (isUnreachable(error)) return "The control plane does not answer.";
  return failure.rawMessage || `The control plane answered ${Code[failure.code]}.`;
}

export function isUnreachable(error: unknown): boolean {
  const code = ConnectError.from(error).code;
  return code === Code.Unavailable || code === Code.Unknown || code === Code.Internal && /fetch|network/i.test(String(error));
}

export function isNotFound(error: unknown): boolean {
  return ConnectError.from(error).code === Code.NotFound;
}
