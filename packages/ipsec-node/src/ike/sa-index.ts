/**
 * SAs under a name: the few of one peer are found without a look at all. Each is under one name at
 * a time; those of a name are told in the order of their numbers, in which they were made.
 */
export class SaIndex<T extends { readonly id: number }> {
  /** Most names have one, and a set of one costs more than what it holds. */
  private readonly groups = new Map<string, T | Set<T>>();
  private readonly names = new Map<T, string>();

  /** Puts one under a name, in place of the one before. */
  put(sa: T, name: string): void {
    if (this.names.get(sa) === name) return;
    this.remove(sa);
    this.names.set(sa, name);
    const group = this.groups.get(name);
    if (group === undefined) this.groups.set(name, sa);
    else if (group instanceof Set) group.add(sa);
    else this.groups.set(name, new Set([group, sa]));
  }

  /** Idempotent. */
  remove(sa: T): void {
    const name = this.names.get(sa);
    if (name === undefined) return;
    this.names.delete(sa);
    const group = this.groups.get(name);
    if (group instanceof Set && group.size > 1) group.delete(sa);
    else this.groups.delete(name);
  }

  of(name: string): readonly T[] {
    const group = this.groups.get(name);
    if (group === undefined) return [];
    return group instanceof Set ? [...group].sort((a, b) => a.id - b.id) : [group];
  }

  /** How many names there are. */
  get size(): number {
    return this.groups.size;
  }
}
