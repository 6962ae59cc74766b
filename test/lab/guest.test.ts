import { expect, it } from 'vitest';
import { describeWith } from './describe-with.ts';
import { bootGuest, GUEST_NEEDS, runGuestCases } from './guest.ts';
import { debianKernel } from './peer.ts';
import { repositoryRoot } from './registry.ts';

describeWith(['iproute2', 'iputils-ping', ...GUEST_NEEDS], 'the guest', () => {
  it('runs many cases in one boot, with the kernel’s own ESP', async () => {
    const results = await runGuestCases({ module: `${repositoryRoot}/test/lab/guest-cases.ts` });
    expect(results.get('kernelEsp')).toMatchObject({
      value: { answered: true, packets: 3, release: debianKernel()?.release },
    });
    expect(results.get('hostFiles')?.value).toMatch(/iproute2/);
    expect(results.get('fails')?.error).toMatch(/on purpose/);
  });

  it('gives back the status and the output of a script', async () => {
    const script = 'cat greeting; echo trouble >&2; printf kept > left; exit 7\n';
    const guest = await bootGuest(script, { files: { greeting: 'hello\n' } });
    expect(guest).toMatchObject({ status: 7, stdout: 'hello\n', stderr: 'trouble\n' });
    expect(guest.file('left')?.toString()).toBe('kept');
  });
});
