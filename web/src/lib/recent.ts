// What was dropped on a link lately. Counters run since a process started; a person who looks at
// the graph asks about now.

const WINDOW_MS = 10_000;
/** Time between two kept samples, so that a page that is drawn often keeps few. */
const SAMPLE_MS = 500;

interface Sample {
  at: number;
  produced: number;
  dropped: number;
}

export interface Share {
  produced: number;
  dropped: number;
}

/** Samples of growing counters, a list a link, as far back as the window reaches. */
export class RecentDrops {
  private readonly links = new Map<string, Sample[]>();

  /** Takes the counters of now and gives what they grew by within the window. */
  share(link: string, produced: number, dropped: number, at: number): Share {
    let samples = this.links.get(link) ?? [];
    const last = samples.at(-1);
    // A counter that falls was started again: what it says now is what is known.
    if (last && (produced < last.produced || dropped < last.dropped)) samples = [];
    if (!last || samples.length === 0 || at - last.at >= SAMPLE_MS) {
      samples = [...samples, { at, produced, dropped }];
    }
    // One sample from before the window is what the window is measured from.
    let first = 0;
    while (first + 1 < samples.length && (samples[first + 1]?.at ?? at) <= at - WINDOW_MS) first += 1;
    samples = samples.slice(first);
    this.links.set(link, samples);
    const base = samples[0];
    // The first look: since the process started is all that is known.
    if (!base || samples.length === 1) return { produced, dropped };
    return { produced: produced - base.produced, dropped: dropped - base.dropped };
  }
}
