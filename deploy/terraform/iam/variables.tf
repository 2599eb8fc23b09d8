variable "queue_arns" {
  description = "The ARNs of the queues to which jobs are sent."
  type        = list(string)

  validation {
    condition     = length(var.queue_arns) > 0 && alltrue([for arn in var.queue_arns : can(regex("^arn:aws[a-z-]*:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,80}(\\.fifo)?$", arn))])
    error_message = "Give the ARN of each queue, without wildcards."
  }
}

variable "dlq_arns" {
  description = "The ARNs of their dead letter queues."
  type        = list(string)

  validation {
    condition     = length(var.dlq_arns) > 0 && alltrue([for arn in var.dlq_arns : can(regex("^arn:aws[a-z-]*:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,80}(\\.fifo)?$", arn))])
    error_message = "Give the ARN of each dead letter queue, without wildcards."
  }
}

variable "kms_key_arns" {
  description = "The ARNs of your keys that encrypt the queues; none where SQS's own keys do."
  type        = list(string)
  default     = []
}

variable "name_prefix" {
  description = "The prefix of the names of the policies."
  type        = string
  default     = "opsconsole"
}
