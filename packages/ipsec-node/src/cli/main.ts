#!/usr/bin/env node
import { systemClock } from '../clock.js';
import { Gateway } from '../gateway.js';
import { runProgram } from './program.js';
import { processTerminal } from './terminal.js';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

// A reader that went away (`ipsec-node sas | head -1`) is no defect.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

process.exitCode = await runProgram(process.argv.slice(2), {
  terminal: processTerminal(),
  clock: systemClock,
  openGateway: (file, options) => Gateway.open(file, options),
  onSignal: (handler) => {
    for (const signal of SIGNALS) process.on(signal, handler);
    return () => {
      for (const signal of SIGNALS) process.off(signal, handler);
    };
  },
  exitNow: (code) => process.exit(code),
});
