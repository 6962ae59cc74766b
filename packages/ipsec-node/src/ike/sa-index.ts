/**
 * SAs under a name: the few of one peer are found without a look at all. Each is under one name at
 * a time; those of a name are told in the order of their numbers, in which they were made.
 */
export class SaIndex<T extends { readonly id: number }> {
  private readonly groups = new Map<string, Set<T>>();
  private readonly names = new Map<T, string>();

  /** Puts one under a name, in place of the one before. */
  put(sa: T, name: string): void {
    if (this.names.get(sa) === name) return;
    this.remove(sa);
    this.names.set(sa, name);
    const group = this.groups.get(name);
    if (group === undefined) this.groups.set(name, new Set([sa]));
    else group.add(sa);
  }

  /** Idempotent. */
  remove(sa: T): void {
    const name = this.names.get(sa);
    if (name === undefined) return;
    this.names.delete(sa);
    const group = this.groups.get(name);
    group?.delete(sa);
    if (group?.size === 0) this.groups.delete(name);
  }

  of(name: string): readonly T[] {
    const group = this.groups.get(name);
    return group === undefined ? [] : [...group].sort((a, b) => a.id - b.id);
  }

  /** How many names there are. */
  get size(): number {
    return this.groups.size;
  }
}
