/** A thread of the {@link ComputePool}: takes tasks and answers them, each under its number. */
import { parentPort, workerData } from 'node:worker_threads';
import { type ComputeSettings, compute } from './compute-task.js';
import { packResult, type WorkerReply, type WorkerRequest } from './compute-wire.js';

const port = parentPort;
if (port === null) throw new Error('This file runs in a worker alone.');
const given: unknown = workerData;
const settings: ComputeSettings = {
  allowPrivateTargets:
    typeof given === 'object' &&
    given !== null &&
    'allowPrivateTargets' in given &&
    given.allowPrivateTargets === true,
};

port.on('message', ({ id, task }: WorkerRequest) => {
  void compute(task, settings).then((result) => {
    const { content, moved } = packResult(result);
    const reply: WorkerReply = { id, result: content };
    port.postMessage(reply, moved);
  });
});
