import { formatTransform, type Transform, type TransformType } from './transform.js';

/**
 * What one side offers or accepts for an SA (RFC 7296 section 3.3): for each type of transform the
 * alternatives, in order of preference. An agreed proposal has one transform of each type.
 */
export interface Proposal {
  readonly protocol: 'ike' | 'esp' | 'ah';
  readonly transforms: readonly Transform[];
}

/** The alternatives of one type, in order of preference. */
export function transformsOf(proposal: Proposal, type: TransformType): readonly Transform[] {
  return proposal.transforms.filter((transform) => transform.type === type);
}

/** Writes a proposal in strongSwan's keywords, joined by dashes. */
export function formatProposal(proposal: Proposal): string {
  return proposal.transforms.map(formatTransform).join('-');
}
