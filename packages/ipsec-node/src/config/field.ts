/** Building blocks of the schema: fields that say in words what they accept. */
import type { z } from 'zod';

/** What is written about a field, for people and for editors. */
export interface FieldDoc {
  /** One or two sentences: what it means. */
  readonly description: string;
  /** What a fault says is accepted. */
  readonly accepted: string;
  /** What stands where the key is absent; for editors. */
  readonly default?: unknown;
  /** Known names, for the search of the nearest. */
  readonly choices?: readonly string[];
  /** Names that the contract knows and this version refuses. */
  readonly later?: readonly string[];
}

const docs = new WeakMap<object, FieldDoc>();

/** Attaches the words to a schema and makes the key optional in the file. */
export function optional<S extends z.ZodType>(schema: S, doc: FieldDoc): z.ZodOptional<S> {
  const described = schema.meta({
    description: doc.description,
    ...('default' in doc ? { default: doc.default } : {}),
  });
  const field = described.optional();
  docs.set(field, doc);
  return field;
}

/** Attaches the words to a schema whose key must be there. */
export function required<S extends z.ZodType>(schema: S, doc: FieldDoc): S {
  const field = schema.meta({ description: doc.description });
  docs.set(field, doc);
  return field;
}

/** The words attached to a field. */
export function docOf(schema: z.ZodType): FieldDoc {
  return docs.get(schema) ?? { description: '', accepted: 'something else' };
}

/** What a field's own check knows beyond zod; read back by the reader. */
export interface FieldIssue {
  readonly why: string;
  readonly nearest?: string | undefined;
  readonly accepted?: string | undefined;
  /** Where within the field's value. */
  readonly path?: readonly (string | number)[];
}

/** Adds an issue of a field's own check. */
export function addIssue(context: z.core.$RefinementCtx, issue: FieldIssue): void {
  context.addIssue({
    code: 'custom',
    message: issue.why,
    path: [...(issue.path ?? [])],
    params: { why: issue.why, nearest: issue.nearest, accepted: issue.accepted },
  });
}

/** A name out of a list: `accepted` and `choices` follow from it. */
export function choiceDoc(
  names: readonly string[],
  rest: Omit<FieldDoc, 'accepted' | 'choices'>,
): FieldDoc {
  return { ...rest, accepted: names.join(', '), choices: names };
}
