package schema

// Values of [Task.FailCode] that APIXO's public pages name. There are two
// styles of them, and the list is open: have a default for what is not here.
const (
	FailContentViolation    = "CONTENT_VIOLATION"
	FailNSFWDetected        = "NSFW_DETECTED"
	FailPromptTooLong       = "PROMPT_TOO_LONG"
	FailInvalidPrompt       = "INVALID_PROMPT"
	FailInvalidImageURL     = "INVALID_IMAGE_URL"
	FailImageTooLarge       = "IMAGE_TOO_LARGE"
	FailUnsupportedFormat   = "UNSUPPORTED_FORMAT"
	FailImageDownloadFailed = "IMAGE_DOWNLOAD_FAILED"
	FailProcessingTimeout   = "PROCESSING_TIMEOUT"
	FailModelUnavailable    = "MODEL_UNAVAILABLE"
	FailGenerationFailed    = "GENERATION_FAILED"
	FailInsufficientCredits = "INSUFFICIENT_CREDITS"

	FailSensitiveContent                    = "SensitiveContent"
	FailSensitiveContentDetected            = "SensitiveContentDetected"
	FailInputImageSensitiveContentDetected  = "InputImageSensitiveContentDetected"
	FailInputOutputSensitiveContentDetected = "InputOutputSensitiveContentDetected"
	FailNSFW                                = "NSFW"
	FailProhibitedContentDetected           = "ProhibitedContentDetected"
	FailPromptLengthExceeded                = "PromptLengthExceeded"
)
