module github.com/apixo-relay/apixo-relay/deploy/test

go 1.26.0
