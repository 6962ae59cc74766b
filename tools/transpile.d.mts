/** Absolute path of the JavaScript of an entry file. Run it with IPSEC_NODE_ROOT set to the root. */
export function transpile(entry: string): Promise<string>;
