// Messages, and where they come from.

/** A message of a queue. `remove` deletes it; `hide` returns it to the queue after a delay. */
export interface Message {
  body: string;
  /** How often it was received, this time included. */
  receiveCount: number;
  remove(): Promise<unknown>;
  hide(seconds: number): Promise<unknown>;
}

/** Wait for one message, at most 20 seconds. Return undefined if none came, and at once when the signal is aborted. */
export type Receive = (signal: AbortSignal) => Promise<Message | undefined>;

/** What the worker needs of a message. */
export interface Named {
  jobId: string;
  runEpoch: number | undefined;
  deadLetterId: string | undefined;
}

// JavaScript keeps 53 bits of a number, and an id may have 64: as text it keeps all. In a string of JSON, the quotes have backslashes.
const LONG_NUMBER = /("job_id"\s*:\s*)(-?[1-9]\d{15,18})(?=\s*[,}])/g;

/** Read the body of a job message; undefined if it is none. */
export function namedBy(body: string): Named | undefined {
  let value: unknown;
  try {
    value = JSON.parse(body.replace(LONG_NUMBER, '$1"$2"'));
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { job_id: id, run_epoch: epoch, dead_letter_id: letter } = value as Record<string, unknown>;
  if ((typeof id !== "string" && !Number.isSafeInteger(id)) || id === "") return undefined;
  if (epoch !== undefined && epoch !== null && !Number.isSafeInteger(epoch)) return undefined;
  return {
    jobId: String(id),
    runEpoch: typeof epoch === "number" ? epoch : undefined,
    deadLetterId: typeof letter === "string" ? letter : undefined,
  };
}

/** What is used of `SQS`, the class of @aws-sdk/client-sqs. */
export interface SqsLike {
  receiveMessage(
    input: { QueueUrl: string; MaxNumberOfMessages: number; WaitTimeSeconds: number; AttributeNames: any[] },
    options?: { abortSignal?: any },
  ): Promise<{ Messages?: { Body?: string; ReceiptHandle?: string; Attributes?: Record<string, string> }[] | undefined }>;
  deleteMessage(input: { QueueUrl: string; ReceiptHandle: string }): Promise<unknown>;
  changeMessageVisibility(input: { QueueUrl: string; ReceiptHandle: string; VisibilityTimeout: number }): Promise<unknown>;
}

const LONGEST_WAIT = 20;
const LONGEST_HIDDEN = 43_200;

/** Receive from an SQS queue: `fromSqs(new SQS({}), "https://sqs...")`. */
export function fromSqs(sqs: SqsLike, queueUrl: string, waitSeconds = LONGEST_WAIT): Receive {
  return async (signal) => {
    const received = await sqs.receiveMessage(
      { QueueUrl: queueUrl, MaxNumberOfMessages: 1, WaitTimeSeconds: waitSeconds, AttributeNames: ["ApproximateReceiveCount"] },
      { abortSignal: signal },
    );
    const message = received.Messages?.[0];
    if (!message?.ReceiptHandle) return undefined;
    const named = { QueueUrl: queueUrl, ReceiptHandle: message.ReceiptHandle };
    return {
      body: message.Body ?? "",
      receiveCount: Number(message.Attributes?.["ApproximateReceiveCount"] ?? 1),
      remove: () => sqs.deleteMessage(named),
      hide: (seconds) => {
        const timeout = Math.min(LONGEST_HIDDEN, Math.max(0, Math.ceil(seconds)));
        return sqs.changeMessageVisibility({ ...named, VisibilityTimeout: timeout });
      },
    };
  };
}
