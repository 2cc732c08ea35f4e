// Package catalog knows where in the archive the files of a task are: from what the archive has
// told of it.
package catalog
