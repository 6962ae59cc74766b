import type { Proposal } from '../sad/proposal.js';
import { knownProposals, readProposal } from './proposal-text.js';
import type { Reader, Section } from './reader.js';

/** What the reading of a list of proposals depends on. */
export interface ProposalsContext {
  readonly protocol: 'ike' | 'esp';
  /** What the file has under `proposals`; undefined where it is absent or faulty. */
  readonly texts: string | readonly string[] | undefined;
  readonly legacy: boolean;
  /** What stands where the file says nothing. */
  readonly fallback: readonly string[];
}

/** Reads `proposals` of a peer or policy; what is faulty of it is left out. */
export function parseProposals(
  reader: Reader,
  section: Section,
  context: ProposalsContext,
): readonly Proposal[] {
  const { protocol, texts, legacy, fallback } = context;
  if (texts === undefined) return knownProposals(protocol, fallback);
  const list = typeof texts === 'string' ? [texts] : texts;
  return list.flatMap((text, index) => {
    if (text === 'default') return knownProposals(protocol, fallback);
    const reading = readProposal(protocol, text, { legacy });
    if (reading.ok) return [reading.proposal];
    const path = [...section.path, 'proposals', ...(typeof texts === 'string' ? [] : [index])];
    for (const fault of reading.faults) reader.faults.add(path, fault);
    return [];
  });
}
