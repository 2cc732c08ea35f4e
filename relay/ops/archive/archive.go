// Package archive stores the files of results before their addresses expire.
package archive
