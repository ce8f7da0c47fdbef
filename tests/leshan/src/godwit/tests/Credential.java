package godwit.tests;

import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.eclipse.californium.elements.util.StringUtil;
import org.eclipse.leshan.client.object.Security;
import org.eclipse.leshan.core.CertificateUsage;
import org.eclipse.leshan.core.util.datatype.ULong;

/**
 * What a client shows of itself and expects of the server.
 *
 * <p>Options: security (none, psk, rpk or x509). For psk: identity (text), key. For rpk: own and server (SPKI), key
 * (PKCS#8). For x509: own (certificates of the chain, the client's first), server (the certificate that `usage` speaks
 * of: the server's with 3, which is the default, an authority's with 2), key (PKCS#8), trust (authorities). Bytes are
 * in hex, lists are parted by commas.
 */
final class Credential {
    private static final int SERVER = 123;

    final Security security;
    /** The client's certificates, its own first; empty unless x509. */
    final Certificate[] chain;
    /** Authorities that the client believes beside the one that its Security object names. */
    final List<Certificate> trust;

    Credential(Map<String, String> options) throws GeneralSecurityException {
        String uri = options.get("uri");
        String mode = options.getOrDefault("security", "none");
        chain = mode.equals("x509") ? certificates(options.get("own")).toArray(new Certificate[0]) : new Certificate[0];
        trust = certificates(options.getOrDefault("trust", ""));
        switch (mode) {
            case "none":
                security = Security.noSec(uri, SERVER);
                break;
            case "psk":
                byte[] identity = options.get("identity").getBytes(StandardCharsets.UTF_8);
                security = Security.psk(uri, SERVER, identity, hex(options.get("key")));
                break;
            case "rpk":
                security = Security.rpk(
                        uri, SERVER, hex(options.get("own")), hex(options.get("key")), hex(options.get("server")));
                break;
            case "x509":
                int usage = Integer.parseInt(options.getOrDefault("usage", "3"));
                security = Security.x509(
                        uri,
                        SERVER,
                        chain[0].getEncoded(),
                        hex(options.get("key")),
                        hex(options.get("server")),
                        CertificateUsage.fromCode(ULong.valueOf(usage)).code);
                break;
            default:
                throw new IllegalArgumentException("security=" + mode);
        }
    }

    private static List<Certificate> certificates(String list) throws GeneralSecurityException {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        List<Certificate> certificates = new ArrayList<>();
        for (String der : list.isEmpty() ? new String[0] : list.split(",")) {
            certificates.add(factory.generateCertificate(new ByteArrayInputStream(hex(der))));
        }
        return certificates;
    }

    private static byte[] hex(String text) {
        return StringUtil.hex2ByteArray(text);
    }
}
