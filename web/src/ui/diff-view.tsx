// Two manifests compared, line by line.
import { diffLines } from "../lib/diff";
import { Empty } from "./parts";

const SIGN = { add: "+ ", del: "- ", same: "  ", skip: "  … " } as const;

export function DiffView({ before, after }: { before: string; after: string }) {
  const lines = diffLines(before, after);
  if (lines.every((line) => line.kind === "same" || line.kind === "skip")) return <Empty title="The two are the same" />;
  return (
    <div className="diff" role="group" aria-label="Differences" tabIndex={0}>
      {lines.map((line, index) => (
        <div key={index} className={line.kind === "skip" ? "hunk" : line.kind}>
          {SIGN[line.kind]}
          {line.text}
        </div>
      ))}
    </div>
  );
}
