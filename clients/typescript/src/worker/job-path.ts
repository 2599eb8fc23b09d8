// The address of a job's run. A text that no path can hold as it is stands in the query.

// Slashes, control characters, and dots alone, which is what a path calls its folders.
const UNFIT_FOR_A_PATH = /[/\\\u0000-\u001f\u007f-\u009f\u2028\u2029]|^\.+$/;

export function jobPath(jobId: string, verb: string): string {
  const quoted = encodeURIComponent(jobId);
  return UNFIT_FOR_A_PATH.test(jobId) ? `jobs/-/${verb}?job_id=${quoted}` : `jobs/${quoted}/${verb}`;
}
