// A certified OpenID provider on a loopback port: client credentials, JWT access tokens with groups.
// Usage: node issuer.mjs PORT ALG
import crypto from 'node:crypto';
import Provider from 'oidc-provider';

const [port, alg] = process.argv.slice(2);
const key = (type, how, kid, use) => ({
  ...crypto.generateKeyPairSync(type, how).privateKey.export({ format: 'jwk' }),
  kid, alg: use, use: 'sig',
});
new Provider(`http://127.0.0.1:${port}`, {
  jwks: {
    keys: [
      key('rsa', { modulusLength: 2048 }, `rsa-${Date.now()}`, 'RS256'),
      key('ec', { namedCurve: 'P-256' }, `ec-${Date.now()}`, 'ES256'),
    ],
  },
  clients: [{
    client_id: 'ci', client_secret: 'ci-secret', grant_types: ['client_credentials'],
    redirect_uris: [], response_types: [],
  }],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'https://modgate.test',
      getResourceServerInfo: (_context, audience) => ({
        audience, scope: 'modules:read', accessTokenTTL: 600, accessTokenFormat: 'jwt', jwt: { sign: { alg } },
      }),
    },
  },
  extraTokenClaims: () => ({ groups: ['go-payments'], repository: 'corp/ledger' }),
}).listen(Number(port), '127.0.0.1', () => console.log('ready'));
