# The least that each program may do with SQS, as policies to attach to its role. ../../aws.md explains how to use it.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.40"
    }
  }
}

# The cluster, the dispatcher and the alert sender: they send jobs, read how full the queues are, and move dead letters.
data "aws_iam_policy_document" "console" {
  statement {
    sid       = "SendJobs"
    effect    = "Allow"
    actions   = ["sqs:SendMessage", "sqs:GetQueueAttributes"]
    resources = var.queue_arns
  }

  # SendMessage is for the probe letter of the command verify.
  statement {
    sid       = "ReadReplayDiscardAndProbeDeadLetters"
    effect    = "Allow"
    actions   = ["sqs:ReceiveMessage", "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:SendMessage"]
    resources = var.dlq_arns
  }
}

# The web processes ask the database, not SQS. Only check --deploy reads how long the queues keep messages.
data "aws_iam_policy_document" "web" {
  statement {
    sid       = "ReadAttributes"
    effect    = "Allow"
    actions   = ["sqs:GetQueueAttributes"]
    resources = concat(var.queue_arns, var.dlq_arns)
  }
}

# Workers take jobs, and move a message that nobody can read to the dead letters.
data "aws_iam_policy_document" "worker" {
  statement {
    sid       = "TakeJobs"
    effect    = "Allow"
    actions   = ["sqs:ReceiveMessage", "sqs:ChangeMessageVisibility", "sqs:DeleteMessage"]
    resources = var.queue_arns
  }

  statement {
    sid       = "MoveUnreadableMessages"
    effect    = "Allow"
    actions   = ["sqs:SendMessage"]
    resources = var.dlq_arns
  }
}

# Queues that are encrypted with a key of yours need the key as well.
data "aws_iam_policy_document" "keys" {
  count = length(var.kms_key_arns) == 0 ? 0 : 1

  statement {
    sid       = "UseKeysOfQueues"
    effect    = "Allow"
    actions   = ["kms:GenerateDataKey", "kms:Decrypt"]
    resources = var.kms_key_arns

    condition {
      test     = "StringLike"
      variable = "kms:ViaService"
      values   = ["sqs.*.amazonaws.com"]
    }
  }
}

resource "aws_iam_policy" "console" {
  name        = "${var.name_prefix}-console"
  description = "The ops console's cluster, dispatcher and alert sender"
  policy      = data.aws_iam_policy_document.console.json
}

resource "aws_iam_policy" "web" {
  name        = "${var.name_prefix}-web"
  description = "The ops console's web processes"
  policy      = data.aws_iam_policy_document.web.json
}

resource "aws_iam_policy" "worker" {
  name        = "${var.name_prefix}-worker"
  description = "Workers of the ops console's queues"
  policy      = data.aws_iam_policy_document.worker.json
}

resource "aws_iam_policy" "keys" {
  count = length(var.kms_key_arns) == 0 ? 0 : 1

  name        = "${var.name_prefix}-keys"
  description = "The keys of the ops console's queues, for each of the other roles"
  policy      = data.aws_iam_policy_document.keys[0].json
}
