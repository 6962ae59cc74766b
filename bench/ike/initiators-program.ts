/** The initiators as a process of their own: commands are lines of JSON, and so are the answers. */
import { createInterface } from 'node:readline';
import { numberAt, textAt } from '../json.js';
import { Initiators } from './initiators.js';

const initiators = await Initiators.open(Number(process.argv[2]));
const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
say({ ready: true });

for await (const line of createInterface({ input: process.stdin })) {
  const command: unknown = JSON.parse(line);
  const count = numberAt(command, 'count') ?? 0;
  switch (textAt(command, 'do')) {
    case 'connect':
      say(await initiators.connect(count, numberAt(command, 'inFlight') ?? 1));
      break;
    case 'rekey':
      say(await initiators.rekey(count, numberAt(command, 'overMs') ?? 0));
      break;
    case 'held':
      say({ held: initiators.held() });
      break;
    default:
      say({ error: `no such command: ${line}` });
  }
}
initiators.close();
