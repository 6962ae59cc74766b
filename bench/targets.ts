/** A ratio that the product promises: ours over the best of some peers, median of the rounds. */
export interface Target {
  readonly scenario: string;
  readonly subject: string;
  /** Round by round the fastest of these counts. */
  readonly peers: readonly string[];
  /** Missing it fails `--assert`. */
  readonly required: number | null;
  readonly goal: number;
}

const WIREGUARD_GO = ['wireguard-go', 'tailscale-wireguard-go'];

export const targets: readonly Target[] = [
  target('tcp-1-local-uso-on', WIREGUARD_GO, 1.8, 2.7),
  target('tcp-1-local-uso-on', ['libipsec'], 10, 14),
  target('tcp-1-local-uso-on', ['none'], null, 0.45),
  target('tcp-1-forwarded-uso-on', WIREGUARD_GO, 1.5, 2.1),
  target('tcp-1-local-uso-off', WIREGUARD_GO, null, 1.8),
  target('udp-64-local-uso-on', WIREGUARD_GO, null, 2),
  target('udp-64-local-uso-on', ['libipsec'], null, 2),
];

function target(
  scenario: string,
  peers: readonly string[],
  required: number | null,
  goal: number,
): Target {
  return { scenario, subject: 'ours-udp', peers, required, goal };
}
